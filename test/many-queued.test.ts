import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, residentBytes, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { describeService, postToken, serviceIdOf } from './support/services.ts'

const MIB = 1024 * 1024

/** What one waiting request may cost the router: connection, head, place in the queue, and in the end its answer. */
const QUEUED_REQUEST_BYTES_MAX = 32 * 1024
/** What a router's memory may grow by for other reasons: code compiled meanwhile, buffers, garbage not yet collected. */
const OTHER_GROWTH_BYTES_MAX = 64 * MIB

for (const requests of [2_000, 10_000]) {
  t.test(`${requests} requests queue for a service that cannot start: each hears why`, async t => {
    const scratch = mkdtempSync(join(tmpdir(), 'waiter-many-'))
    t.teardown(() => rmSync(scratch, { recursive: true, force: true }))
    const waiter = await startWaiter({ config: { log: { level: 'warn' } } })
    t.teardown(() => waiter.stop())
    // Fails only when all are queued, so that every one of them has waited.
    const go = join(scratch, 'go')
    const cmd = `until [ -e ${go} ]; do sleep 0.05; done; echo "no database at db:5432" >&2; exit 7`
    await postToken(
      waiter,
      'doomed',
      describeService(cmd, { name: 'doomed', 'max-instances': 1, 'grace-period-secs': 0 }),
    )
    const serviceId = await serviceIdOf(waiter, { 'x-waiter-token': 'doomed' })
    const routerPid = waiter.processes('router')[0]?.pid ?? 0
    const beforeBytes = residentBytes(routerPid) ?? 0

    const asked = Array.from({ length: requests }, (_, index) => ask(waiter.port, index))
    await eventually(
      async () =>
        (await waiter.api(`/state/${serviceId}`)).state['responder-state']['waiting-requests'] === requests ||
        undefined,
      'all requests to wait',
      { everyMs: 50, timeoutMs: 120_000 },
    )
    const queuedBytes = residentBytes(routerPid) ?? 0
    t.notOk(existsSync(go))
    writeFileSync(go, '')
    const answers = await Promise.all(asked)
    const afterBytes = residentBytes(routerPid) ?? 0

    const good = answers.filter(
      (text, index) =>
        text.startsWith('HTTP/1.1 503 ') &&
        text.includes('Deployment error: Invalid startup command') &&
        text.includes('"exit-code":7') &&
        text.includes('"stderr":["no database at db:5432"]') &&
        text.includes(`"cid":"request-${index}"`),
    )
    t.equal(
      good.length,
      requests,
      `each answer has its reason; another was: ${answers.find(text => !good.includes(text))}`,
    )
    const boundBytes = OTHER_GROWTH_BYTES_MAX + requests * QUEUED_REQUEST_BYTES_MAX
    const grown = { queued: queuedBytes - beforeBytes, after: afterBytes - beforeBytes }
    t.comment(`router: ${mib(beforeBytes)} before, +${mib(grown.queued)} queued, +${mib(grown.after)} after`)
    t.ok(grown.queued < boundBytes, `queued, the router grew by ${mib(grown.queued)}, allowed are ${mib(boundBytes)}`)
    t.ok(grown.after < boundBytes, `answered, the router has grown by ${mib(grown.after)}`)
    const { state } = await waiter.api(`/state/${serviceId}`)
    t.match(state, {
      'request-counts': { outstanding: 0, total: requests },
      'responder-state': { 'waiting-requests': 0 },
    })
    t.equal((await waiter.request({ path: '/status' })).status, 200)
  })
}

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`

/** One request on a connection of its own, as little of a client as can be. */
function ask(port: number, index: number): Promise<string> {
  return new Promise(resolve => {
    let text = ''
    const socket = connect({ host: '127.0.0.1', port })
    socket.setEncoding('latin1')
    socket.on('data', piece => {
      text += piece
    })
    socket.once('error', error => resolve(`${text} ${error.message}`))
    socket.once('close', () => resolve(text))
    socket.write(
      `GET / HTTP/1.1\r\nhost: doomed\r\naccept: application/json\r\nx-cid: request-${index}\r\nconnection: close\r\n\r\n`,
    )
  })
}
