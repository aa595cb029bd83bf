import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '@waiter/testkit'
import t from 'tap'
import { createLogger } from '../src/logging.ts'

t.test('secrets do not reach the log', async t => {
  const path = join(t.testdir(), 'logs', 'waiter.log')
  const log = createLogger('test', 'info', { kind: 'file', path, bytesMax: 1_000_000 })
  const secret = 'do-not-tell'
  log.info(
    {
      clusterSecret: secret,
      password: secret,
      authorization: secret,
      cookie: secret,
      start: { clusterSecret: secret, port: 1 },
      headers: { authorization: secret, cookie: secret, accept: 'text/html' },
      instance: { password: secret },
    },
    'with secrets',
  )
  log.debug({}, 'not asked for')
  log.warn({ err: new Error('something broke') }, 'an error')
  const lines = await eventually(() => {
    const found = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
    return found.length === 2 ? found : undefined
  }, 'two lines')
  const [first, second] = lines.map(line => JSON.parse(line))
  t.notMatch(lines.join(), secret)
  t.match(first, { name: 'test', msg: 'with secrets', start: { port: 1 }, headers: { accept: 'text/html' } })
  t.equal(first.headers.authorization, '[Redacted]')
  t.match(second, { msg: 'an error', err: { message: 'something broke', stack: String } })
  t.ok(statSync(path).size < 2_000)
})
