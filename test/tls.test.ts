import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import {
  eventually,
  kitchenCommand,
  makeCertificate,
  request as plainRequest,
  runWaiter,
  startWaiter,
  type TestCertificate,
  waitForEvent,
} from '@waiter/testkit'
import t from 'tap'
import { describeService, postToken } from './support/services.ts'

const run = promisify(execFile)
const directory = mkdtempSync(join(tmpdir(), 'waiter-tls-'))
const fileOf = (name: string): { cert: string; key: string } => ({
  cert: join(directory, `${name}.pem`),
  key: join(directory, `${name}.key`),
})
const keys: string[] = []

/** As those do who renew certificates: whole files, one after the other. */
function install(name: string, { cert, key }: TestCertificate): void {
  keys.push(key)
  const files = fileOf(name)
  for (const [file, text] of [
    [files.cert, cert],
    [files.key, key],
  ] as const) {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
}

const first = await makeCertificate({ names: ['waiter.example', 'localhost', '127.0.0.1'], days: 60 })
install('first', first)
install('second', await makeCertificate({ names: ['*.services.example'], days: 60 }))
const waiter = await startWaiter({
  args: ['--workers', '2'],
  config: {
    hostname: ['localhost', 'waiter.example'],
    'server-options': {
      'ssl-port': 0,
      certificates: [fileOf('first'), fileOf('second')],
      'certificate-check-interval-ms': 50,
    },
  },
})
t.teardown(async () => {
  await waiter.stop()
  rmSync(directory, { recursive: true })
})
const { https = '' } = waiter.nodes[0] ?? {}
const port = Number(new URL(https).port)

async function shakeHands(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  await waitForEvent(socket, 'secureConnect')
  return socket
}

async function namesFor(servername: string): Promise<string> {
  const socket = await shakeHands({ servername })
  const names = socket.getPeerCertificate().subjectaltname ?? ''
  socket.destroy()
  return names
}

t.test('HTTPS has a port of its own, and is announced', async t => {
  t.match(https, /^https:\/\/127\.0\.0\.1:\d+$/)
  t.not(port, waiter.port)
  const state = await plainRequest({ port, tls: true, path: '/state' })
  t.equal(state.status, 200)
  t.match(JSON.parse(state.text).details.leader, `https://127.0.0.1:${port}/state/leader`)
  const status = await plainRequest({ port, tls: true, path: '/status?include=request-info' })
  t.match(JSON.parse(status.text), { status: 'ok', 'request-info': { scheme: 'https' } })
  t.match((await waiter.api('/status?include=request-info'))['request-info'], { scheme: 'http' })
})

t.test('curl checks the certificate of the name that it asks for', async t => {
  const ask = (name: string, authority: string): Promise<{ stdout: string }> =>
    run('curl', [
      '-sS',
      '--cacert',
      authority,
      '--resolve',
      `${name}:${port}:127.0.0.1`,
      `https://${name}:${port}/status`,
    ])
  t.match((await ask('waiter.example', fileOf('first').cert)).stdout, /"ok"/)
  for (const version of ['1.1', '2']) {
    const { stdout } = await run('curl', [
      ...[
        '-sS',
        '-k',
        version === '2' ? '--http2' : '--http1.1',
        '-o',
        '/dev/null',
        '-w',
        '%{http_version} %{http_code}',
      ],
      `https://127.0.0.1:${port}/status`,
    ])
    t.equal(stdout, `${version} 200`)
  }
  await t.rejects(ask('other.example', fileOf('first').cert), /no alternative certificate subject name/)
  t.match(await namesFor('a.services.example'), 'DNS:*.services.example')
  t.match(await namesFor('elsewhere.example'), 'DNS:waiter.example', 'the first is for all other names')
})

t.test('a service is told that its client came by HTTPS', async t => {
  await postToken(waiter, 'kitchen', describeService(kitchenCommand(), { 'health-check-url': '/status', mem: 512 }))
  const headers = { 'x-waiter-token': 'kitchen', 'x-waiter-debug': 'true' }
  const secure = await plainRequest({ port, tls: true, path: '/request-info', headers })
  t.equal(secure.status, 200)
  t.equal(JSON.parse(secure.text).headers['x-forwarded-proto'], 'https')
  t.match(secure.headers['x-waiter-request-id'], /-https$/)
  const said = { ...headers, 'x-forwarded-proto': 'http' }
  const behindProxy = await plainRequest({ port, tls: true, path: '/request-info', headers: said })
  t.equal(JSON.parse(behindProxy.text).headers['x-forwarded-proto'], 'http', 'unless a proxy in front of us says so')
  const plain = await waiter.request({ path: '/request-info', headers })
  t.equal(JSON.parse(plain.text).headers['x-forwarded-proto'], undefined)
  t.match(plain.headers['x-waiter-request-id'], /-http$/)
})

t.test('a token for https only is sent on to our own port for it', async t => {
  await postToken(waiter, 'secure-only', { ...describeService(kitchenCommand()), 'https-redirect': true })
  const headers = { 'x-waiter-token': 'secure-only', host: 'app.example:80' }
  for (const [method, status] of [
    ['GET', 301],
    ['POST', 307],
  ] as const) {
    const answer = await waiter.request({ method, path: '/a?b=c', headers })
    t.match(answer, { status, headers: { location: `https://app.example:${port}/a?b=c` } })
  }
})

t.test('a session begun with one worker is resumed by both', async t => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  const session = await waitForEvent<Buffer>(socket, 'session')
  socket.destroy()
  const ids = new Set<string>()
  while (ids.size < 2) {
    const resumed = await shakeHands({ session })
    t.ok(resumed.isSessionReused())
    resumed.write('GET /state HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    let text = ''
    for await (const piece of resumed) text += piece
    ids.add(/"router-id":"([^"]+)"/.exec(text)?.[1] ?? '')
  }
})

t.test('changed files are taken on without a restart; broken ones are not, and that is said', async t => {
  const before = await shakeHands()
  install('first', await makeCertificate({ names: ['renewed.example'], days: 60 }))
  await bothAgree('the new certificate', async () => (await namesFor('x')).includes('renewed'))
  before.write('GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n')
  t.match(String(await waitForEvent<Buffer>(before, 'data')), /^HTTP\/1\.1 200/, 'old connections go on')
  before.destroy()

  writeFileSync(fileOf('first').cert, 'not a certificate')
  const warning = /first\.pem.*PEM is needed; the certificate before is still in use/
  await bothAgree('a warning in /status', async () => warning.test(String((await waiter.api('/status')).warnings)))
  t.match(await namesFor('x'), 'renewed.example')
  const { certificates } = (await waiter.api('/state/tls')).state
  t.match(certificates, [{ problem: /PEM is needed/ }, { names: ['*.services.example'], problem: null }])
  t.match(waiter.log(), 'a changed certificate cannot be used; the one before stays')

  install('first', await makeCertificate({ names: ['mended.example'], days: 3 }))
  await bothAgree('the mended certificate', async () => (await namesFor('x')).includes('mended'))
  t.match((await waiter.api('/status')).warnings, [/first\.pem ends in 2 days$/])
})

/** Whoever is asked twelve times in a row, each time on a new connection, has been both workers, but for 1 in 2048. */
async function bothAgree(what: string, ask: () => Promise<boolean>): Promise<void> {
  await eventually(async () => {
    for (let round = 0; round < 12; round++) if (!(await ask())) return undefined
    return true
  }, what)
}

t.test('no part of a key is anywhere to be seen', async t => {
  const settings = await waiter.api('/settings')
  t.equal(settings['server-options'].certificates[0].key, fileOf('first').key, 'where it is, is no secret')
  const commands = (await run('ps', ['-eo', 'args'], { maxBuffer: 64 * 1024 * 1024 })).stdout
  const seen = [waiter.log(), waiter.stdout(), JSON.stringify(settings), commands].join('\n')
  for (const key of keys)
    for (const line of key.split('\n').slice(1, -2)) t.notOk(seen.includes(line), 'a line of a key')
  t.notOk(seen.includes(readFileSync(fileOf('second').key, 'utf8')))
})

t.test('what cannot be served is said at the start', async t => {
  const start = async (certificate: object): Promise<string> => {
    const file = join(directory, 'bad.yaml')
    writeFileSync(file, JSON.stringify({ 'server-options': { 'ssl-port': 0, certificates: [certificate] } }))
    const { code, stderr } = await runWaiter([
      '--json',
      '--port',
      '0',
      '--data-dir',
      join(directory, 'data'),
      '--config',
      file,
    ])
    t.equal(code, 1)
    return stderr
  }
  t.match(
    await start({ cert: '/nowhere.pem', key: '/nowhere.key' }),
    'waiter: server-options.certificates.0: cannot read /nowhere.pem (ENOENT)',
  )
  const { key } = fileOf('second')
  t.match(await start({ cert: fileOf('first').cert, key }), 'the key is not the key of the certificate')
})
