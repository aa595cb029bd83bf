import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  claimPorts,
  eventually,
  fastKitchenCommand,
  kitchenCommand,
  startWaiter,
  type TestResponse,
} from '@waiter/testkit'
import t, { type Test } from 'tap'
import { type Description, describeService, errorOf, onTheFly } from './support/services.ts'

const scratch = mkdtempSync(join(tmpdir(), 'waiter-failing-'))
const waiter = await startWaiter()
t.teardown(() => rmSync(scratch, { recursive: true, force: true }))
t.teardown(() => waiter.stop())

/** A service is known to have failed when its second instance has; then the answer may take this long. */
const ANSWER_MS_MAX = 5_000
const RUDE = `exec '${process.execPath}' '${fileURLToPath(new URL('support/rude-backend.ts', import.meta.url))}' $PORT0`

interface Failure {
  readonly story: string
  readonly cmd: string
  readonly changes?: Description
  readonly code: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
}

const failures: readonly Failure[] = [
  {
    story: 'exits at once: exit code and last lines of stderr',
    cmd: 'for i in $(seq 30); do echo "line $i" >&2; done; echo "cannot open config.ini" >&2; exit 3',
    code: 'bad-startup-command',
    message: 'Deployment error: Invalid startup command',
    details: {
      'exit-code': 3,
      stderr: (lines: string[]) => lines.length === 10 && lines.at(-1) === 'cannot open config.ini',
    },
  },
  {
    story: 'does not exist',
    cmd: 'no-such-program-here --port $PORT0',
    code: 'bad-startup-command',
    message: 'Deployment error: Invalid startup command',
    details: {
      'exit-code': 127,
      stderr: (lines: string[]) => /no-such-program-here: command not found/.test(lines.join()),
    },
  },
  {
    story: 'is no shell at all',
    cmd: 'if then (',
    code: 'bad-startup-command',
    message: 'Deployment error: Invalid startup command',
    details: { 'exit-code': 2, stderr: (lines: string[]) => /syntax error/.test(lines.join()) },
  },
  {
    story: 'forks children and exits',
    cmd: 'sleep 300 & sleep 300 & echo "the parent gives up" >&2; exit 4',
    code: 'bad-startup-command',
    message: 'Deployment error: Invalid startup command',
    details: { 'exit-code': 4, stderr: ['the parent gives up'] },
  },
  {
    story: 'never listens',
    cmd: 'echo "I do something else" >&2; exec sleep 300',
    changes: { 'grace-period-secs': 1 },
    code: 'cannot-connect',
    message: 'Deployment error: Unable to connect to run health checks',
    details: { 'instance-message': 'Exceeded grace period of 1 seconds', stderr: ['I do something else'] },
  },
  {
    story: 'never listens and ignores SIGTERM',
    cmd: `trap '' TERM; echo stubborn >&2; while true; do sleep 0.2; done`,
    changes: { 'grace-period-secs': 1 },
    code: 'cannot-connect',
    message: 'Deployment error: Unable to connect to run health checks',
    details: { 'instance-message': 'Exceeded grace period of 1 seconds', stderr: ['stubborn'] },
  },
  {
    story: 'hangs in its health check',
    cmd: RUDE,
    changes: { 'grace-period-secs': 8, 'health-check-url': '/never-answers' },
    code: 'health-check-timed-out',
    message: 'Deployment error: Health check timed out',
    details: { 'instance-message': 'Exceeded grace period of 8 seconds' },
  },
  {
    story: 'closes the connection instead of answering its health check',
    cmd: RUDE,
    changes: { 'grace-period-secs': 8, 'health-check-url': '/closes' },
    code: 'bad-socket',
    message: 'Deployment error: The connection was closed before the health check was answered',
    details: { 'instance-message': 'Exceeded grace period of 8 seconds' },
  },
  {
    story: 'answers its health check with an error',
    cmd: kitchenCommand(),
    changes: { 'grace-period-secs': 8, 'health-check-url': '/bad-status' },
    code: 'invalid-health-check-response',
    message: 'Deployment error: The health check never answered with a 2xx status',
    details: { 'instance-message': 'Exceeded grace period of 8 seconds' },
  },
  {
    story: 'takes more memory than it asked for, before it listens',
    cmd: 'exec python3 -c "x = bytearray(200 << 20); import time; time.sleep(300)"',
    changes: { mem: 64, 'grace-period-secs': 60 },
    code: 'not-enough-memory',
    message: 'Deployment error: Not enough memory allocated',
    details: { 'instance-message': 'Exceeded allocated memory usage' },
  },
  {
    story: 'asks for what this scheduler cannot do',
    cmd: 'true',
    changes: { image: 'example.com/image:1' },
    code: 'WTR_',
    message: 'image',
    details: {},
  },
]

function describe({ story, cmd, changes }: Failure): Description {
  return describeService(cmd, { name: story.replaceAll(/[^a-z]+/g, '-'), ...changes })
}

/** All at once: most of the time they only wait. */
const asked = failures.map(failure => ({
  failure,
  answer: waiter.request({ headers: { ...onTheFly(describe(failure)), accept: 'application/json' } }),
}))

for (const { failure, answer } of asked) {
  t.test(`a command that ${failure.story}`, async t => {
    const response = await answer
    t.equal(response.status, 503, response.text)
    const error = errorOf(response)
    t.match(error.message, failure.message)
    t.match(error.details['deployment-error'], new RegExp(failure.code))
    for (const [name, wanted] of Object.entries(failure.details)) {
      const found = error.details[name]
      if (typeof wanted === 'function') t.ok(wanted(found), `${name}: ${JSON.stringify(found)}`)
      else t.same(found, wanted, name)
    }
    const serviceId = response.headers['x-waiter-service-id'] ?? error['service-id']
    const app = await waiter.api(`/apps/${serviceId}`)
    t.match(
      app['deployment-error-message'],
      failure.message.replace('Deployment error: ', ''),
      '/apps tells it as well',
    )
    await expectNothingLeft(t, serviceId)
  })
}

/** Deleting the service stops whatever its instances started. */
async function expectNothingLeft(t: Test, serviceId: string): Promise<void> {
  const isLeft = (): boolean => waiter.instanceProcesses().some(({ sandbox }) => sandbox?.includes(serviceId))
  const { status } = await waiter.request({ method: 'DELETE', path: `/apps/${serviceId}` })
  t.equal(status, 200)
  t.notOk(isLeft(), 'nothing of it runs after it was deleted')
}

t.test('the answer comes soon after the failure', async t => {
  const cmd = 'date +%s%3N >&2; exit 9'
  const answer = await waiter.request({
    headers: { ...onTheFly(describeService(cmd, { name: 'dated' })), accept: 'application/json' },
  })
  const answeredAtMs = Date.now()
  const [line] = errorOf(answer).details.stderr
  t.match(line, /^\d+$/)
  const lateMs = answeredAtMs - Number(line)
  t.ok(lateMs >= 0 && lateMs <= ANSWER_MS_MAX, `${lateMs} ms after the second instance had failed`)
})

t.test('the reason comes in the form that the client wants', async t => {
  const headers = onTheFly(describeService('echo "a <b>bold</b> reason" >&2; exit 5', { name: 'forms' }))
  const ask = (more: Record<string, string>): Promise<TestResponse> =>
    waiter.request({ headers: { ...headers, ...more } })
  const rows: [accept: Record<string, string>, type: string, reason: string][] = [
    [{ accept: 'application/json' }, 'application/json', '"a <b>bold</b> reason"'],
    [{ accept: 'text/html,application/xhtml+xml;q=0.9' }, 'text/html', 'a &lt;b&gt;bold&lt;/b&gt; reason'],
    [{ accept: 'text/plain' }, 'text/plain', 'a <b>bold</b> reason'],
    [{}, 'text/plain', 'a <b>bold</b> reason'],
    [{ 'content-type': 'application/json' }, 'application/json', '"a <b>bold</b> reason"'],
  ]
  for (const [accept, type, reason] of rows) {
    const answer = await ask(accept)
    t.equal(answer.status, 503)
    t.match(answer.headers['content-type'], type)
    t.ok(answer.text.includes(reason), `${type} has the line of stderr`)
    t.match(answer.text, 'Invalid startup command')
    t.match(answer.text, /exit-code\D+5/)
    t.ok(answer.headers['x-cid'] && answer.text.includes(answer.headers['x-cid'] as string), 'and the correlation id')
  }
})

t.test('a command that ends with code 0 instead of listening is told as well', async t => {
  const answer = await waiter.request({
    headers: {
      ...onTheFly(describeService('echo "went to the background" >&2; exit 0', { name: 'zero' })),
      accept: 'application/json',
      'x-waiter-queue-timeout': '5000',
    },
  })
  t.equal(answer.status, 503)
  t.match(errorOf(answer).message, 'Deployment error')
  t.match(errorOf(answer).details, { 'exit-code': 0, stderr: ['went to the background'] })
})

t.test('a command that listens late is waited for', async t => {
  const headers = onTheFly(describeService(kitchenCommand('--start-up-sleep-ms 1500'), { name: 'late' }))
  const answer = await waiter.request({ headers })
  t.equal(answer.status, 200)
  t.equal(answer.text, 'Hello World')
})

t.test('a service that takes too much memory while it serves is replaced', async t => {
  const headers = onTheFly(describeService(kitchenCommand('--oom-bytes 300000000'), { name: 'hungry', mem: 200 }))
  const before = await waiter.request({ headers: { ...headers, 'x-waiter-debug': '1' } })
  t.equal(before.status, 200)
  const victim = before.headers['x-waiter-backend-id']
  const during = await waiter.request({ path: '/oom-instability', headers })
  t.equal(during.status, 502, 'the request that it was serving fails visibly')
  const after = await waiter.request({ headers: { ...headers, 'x-waiter-debug': '1' } })
  t.equal(after.status, 200)
  t.not(after.headers['x-waiter-backend-id'], victim)
  const app = await waiter.api(`/apps/${before.headers['x-waiter-service-id']}`)
  // The request may have been tried once more, on another instance with the same end.
  const failed: Record<string, unknown>[] = app.instances['failed-instances']
  t.match(
    failed.find(({ id }) => id === victim),
    { message: 'Exceeded allocated memory usage' },
  )
})

t.test('a service that was mended is served without waiting for the idle timeout', async t => {
  const flag = join(scratch, 'mended')
  const cmd = `[ -e ${flag} ] || { echo "not yet" >&2; exit 6; }; ${kitchenCommand()}`
  const headers = { ...onTheFly(describeService(cmd, { name: 'mended' })), accept: 'application/json' }
  t.equal(errorOf(await waiter.request({ headers })).details['exit-code'], 6)
  writeFileSync(flag, '')
  const mended = await eventually(async () => {
    const answer = await waiter.request({ headers })
    return answer.status === 200 ? answer : undefined
  }, 'the service to come up')
  t.equal(mended.text, 'Hello World')
})

t.test('no port left: whoever waits in vain is told, and so is who looks at the service', async t => {
  const { first: port } = await claimPorts()
  const range = [port, port]
  const small = await startWaiter({ config: { 'scheduler-config': { process: { 'port-range': range } } } })
  t.teardown(() => small.stop())
  const fast = { cmd: fastKitchenCommand(), 'health-check-url': '/' }
  t.equal((await small.request({ headers: onTheFly(describeService(fast.cmd, fast)) })).status, 200)
  const second = describeService(fast.cmd, { ...fast, version: 'second' })
  const headers = { ...onTheFly(second), accept: 'application/json', 'x-waiter-queue-timeout': '1000' }
  const answer = await small.request({ headers })
  t.equal(answer.status, 503)
  const error = errorOf(answer)
  t.match(
    error.message,
    `No further instance can be started: Only 0 of 1 ports are free in ${port}-${port}: 1 are used`,
  )
  t.match(await small.api(`/apps/${error['service-id']}`), { 'start-trouble': /Widen the port range/ })
})
