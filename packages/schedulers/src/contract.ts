/**
 * The contract of {@link Scheduler} as tests: every implementation runs the same ones. For tests only.
 *
 * ```ts
 * for (const { title, run } of schedulerContract({ open, define })) t.test(title, run)
 * ```
 */
import assert from 'node:assert/strict'
import type { ServiceId } from '@waiter/base'
import { WaiterError } from '@waiter/base'
import type { ServiceDefinition } from '@waiter/services'
import type { Fence, Scheduler } from './scheduler.ts'
import { SchedulerView } from './scheduler-view.ts'

export { createExampleDefinition } from './example-definition.ts'
export { SchedulerView } from './scheduler-view.ts'

/**
 * What an instance of a test service does:
 * - `healthy`: listens and answers its health check with 200.
 * - `fails`: exits with code 3 at once.
 * - `silent`: runs, never listens.
 * - `stubborn`: healthy, and ignores SIGTERM.
 */
export type Behaviour = 'healthy' | 'fails' | 'silent' | 'stubborn'

/** What the suite needs of an implementation. */
export interface SchedulerContractOptions {
  /** Opens a scheduler that nothing runs on; the suite calls `close` when the test is over, whatever happened. */
  open(): Promise<SchedulerUnderTest>
  /** A service whose instances behave like this. The grace period must be long enough never to matter. */
  define(id: ServiceId, behaviour: Behaviour): ServiceDefinition
}

/** One scheduler, open for one test. */
export interface SchedulerUnderTest {
  readonly scheduler: Scheduler
  /** Stops everything that still runs. */
  close(): Promise<void>
  /** Ends this object as a crash or restart of Waiter would, and opens another on the same instances. */
  reopen(): Promise<Scheduler>
}

/** One test: passes when `run` resolves. */
export interface ContractCase {
  readonly title: string
  run(): Promise<void>
}

const FENCE: Fence = { term: 5 }

/** All cases of the contract, each on a scheduler of its own. */
export function schedulerContract(options: SchedulerContractOptions): readonly ContractCase[] {
  return Object.entries(CASES).map(([title, body]) => ({
    title,
    run: async () => {
      const subject = await options.open()
      try {
        await using view = new SchedulerView(subject.scheduler)
        await body({ subject, view, scheduler: subject.scheduler, define: options.define })
      } finally {
        await subject.close()
      }
    },
  }))
}

interface CaseInput {
  readonly subject: SchedulerUnderTest
  readonly scheduler: Scheduler
  readonly view: SchedulerView
  define(id: ServiceId, behaviour: Behaviour): ServiceDefinition
}

const CASES: Readonly<Record<string, (input: CaseInput) => Promise<void>>> = {
  'C1 a watch begins with a listing, also when nothing runs': async ({ view }) => {
    await view.until('a listing', () => view.listings === 1)
    assert.equal(view.services.size, 0)
  },

  'C2 create starts the requested number and they become healthy': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 2, FENCE)
    const healthy = await view.untilHealthy('s', 2)
    assert.equal(view.services.get('s')?.requested, 2)
    for (const instance of healthy) {
      assert.ok(instance.instanceId.startsWith('s.'), 'the id begins with the service id')
      assert.notEqual(instance.healthyAtMs, null)
      assert.equal(instance.endedAtMs, null)
    }
  },

  'C3 create is idempotent: an existing service is left alone': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    await scheduler.create(define('s', 'healthy'), 3, FENCE)
    await view.untilHealthy('s', 1)
    assert.equal(view.services.get('s')?.requested, 1)
  },

  'C4 scale raises and never lowers': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    await scheduler.scale('s', 2, FENCE)
    await view.untilHealthy('s', 2)
    await scheduler.scale('s', 1, FENCE)
    await scheduler.scale('s', 2, FENCE)
    assert.equal(view.services.get('s')?.requested, 2)
    assert.equal(view.inState('s', 'failed', 'killed').length, 0)
  },

  'C5 scale of an unknown service is refused': async ({ scheduler }) => {
    await assert.rejects(scheduler.scale('nobody', 1, FENCE), hasCode('WTR_NO_SUCH_SERVICE'))
  },

  'C6 kill stops this instance, lowers the count first and starts no replacement': async ({
    scheduler,
    view,
    define,
  }) => {
    await scheduler.create(define('s', 'healthy'), 2, FENCE)
    const [victim, survivor] = await view.untilHealthy('s', 2)
    assert.ok(victim && survivor)
    const result = await scheduler.kill({ ...victim, graceMs: 5000, reason: 'because' }, FENCE)
    assert.deepEqual(result, { kind: 'killed' })
    const ended = await view.untilEnded('s', victim.instanceId)
    assert.equal(ended.state, 'killed')
    assert.equal(ended.message, 'because')
    assert.notEqual(ended.endedAtMs, null)
    assert.equal(view.services.get('s')?.requested, 1)
    assert.deepEqual(
      view.inState('s', 'starting', 'healthy', 'unhealthy').map(instance => instance.instanceId),
      [survivor.instanceId],
    )
    const order = view.history.map(event =>
      event.kind === 'service' && event.requested === 1
        ? 'lowered'
        : event.kind === 'instance' && event.instance.state === 'killed'
          ? 'ended'
          : '',
    )
    assert.ok(order.indexOf('lowered') < order.indexOf('ended'), 'the count is lowered before the instance ends')
  },

  'C7 kill of an unknown or ended instance changes nothing': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 2, FENCE)
    const [victim] = await view.untilHealthy('s', 2)
    assert.ok(victim)
    const order = { ...victim, graceMs: 5000, reason: 'twice' }
    assert.deepEqual(await scheduler.kill({ ...order, instanceId: 's.unknown' }, FENCE), { kind: 'no-such-instance' })
    assert.deepEqual(await scheduler.kill({ ...order, serviceId: 'other' }, FENCE), { kind: 'no-such-instance' })
    await scheduler.kill(order, FENCE)
    assert.deepEqual(await scheduler.kill(order, FENCE), { kind: 'no-such-instance' })
    await view.until('the count is lowered once', () => view.services.get('s')?.requested === 1)
  },

  'C8 two kills of one instance at once lower the count once': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 3, FENCE)
    const [victim] = await view.untilHealthy('s', 3)
    assert.ok(victim)
    const order = { ...victim, graceMs: 5000, reason: 'race' }
    await Promise.all([scheduler.kill(order, FENCE), scheduler.kill(order, FENCE), scheduler.kill(order, FENCE)])
    await view.untilEnded('s', victim.instanceId)
    assert.equal(view.services.get('s')?.requested, 2)
    assert.equal(view.inState('s', 'healthy').length, 2)
  },

  'C9 an instance that ignores SIGTERM is gone after the grace': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'stubborn'), 1, FENCE)
    const [victim] = await view.untilHealthy('s', 1)
    assert.ok(victim)
    const graceMs = 200
    const beganMs = performance.now()
    await scheduler.kill({ ...victim, graceMs, reason: 'stubborn' }, FENCE)
    assert.ok(performance.now() - beganMs >= graceMs - 1, 'it was given its grace')
    assert.equal((await view.untilEnded('s', victim.instanceId)).state, 'killed')
  },

  'C10 an instance that fails is reported and replaced by another': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'fails'), 1, FENCE)
    const failed = await view.until(
      'two failed',
      () => view.inState('s', 'failed').length >= 2 && view.inState('s', 'failed'),
    )
    assert.equal(new Set(failed.map(instance => instance.instanceId)).size, failed.length, 'ids are never reused')
    assert.equal(failed[0]?.exitCode, 3)
    assert.equal(failed[0]?.message, 'Exited with code 3')
    assert.equal(view.services.get('s')?.requested, 1)
  },

  'C11 an instance that never listens stays starting': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'silent'), 1, FENCE)
    await scheduler.create(define('t', 'healthy'), 1, FENCE)
    await view.untilHealthy('t', 1)
    const [silent] = await view.until(
      'it runs',
      () => view.inState('s', 'starting').length === 1 && view.instances('s'),
    )
    assert.equal(silent?.healthyAtMs, null)
    assert.deepEqual(silent?.flags, [])
  },

  'C12 delete stops everything and forgets the service': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 2, FENCE)
    await view.untilHealthy('s', 2)
    await Promise.all([scheduler.delete('s', FENCE), scheduler.delete('s', FENCE)])
    await view.until('the service is gone', () => !view.services.has('s'))
    await scheduler.delete('s', FENCE)
    await assert.rejects(scheduler.scale('s', 2, FENCE), hasCode('WTR_NO_SUCH_SERVICE'))
  },

  'C13 a deleted service can be created again': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    const [first] = await view.untilHealthy('s', 1)
    const deletion = scheduler.delete('s', FENCE)
    await Promise.all([deletion, scheduler.create(define('s', 'healthy'), 1, FENCE)])
    const second = await view.until('another healthy one', () =>
      view.inState('s', 'healthy').find(instance => instance.instanceId !== first?.instanceId),
    )
    assert.notEqual(second.instanceId, first?.instanceId)
  },

  'C14 orders of a lower term are refused and change nothing': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    assert.ok(instance)
    const stale: Fence = { term: FENCE.term - 1 }
    await assert.rejects(scheduler.create(define('t', 'healthy'), 1, stale), hasCode('WTR_FENCED'))
    await assert.rejects(scheduler.scale('s', 2, stale), hasCode('WTR_FENCED'))
    await assert.rejects(scheduler.kill({ ...instance, graceMs: 0, reason: 'stale' }, stale), hasCode('WTR_FENCED'))
    await assert.rejects(scheduler.delete('s', stale), hasCode('WTR_FENCED'))
    await scheduler.scale('s', 2, { term: FENCE.term + 1 })
    await assert.rejects(scheduler.scale('s', 3, FENCE), hasCode('WTR_FENCED'))
    await view.untilHealthy('s', 2)
    assert.equal(view.services.get('s')?.requested, 2)
    assert.equal(view.services.has('t'), false)
  },

  'C15 a later watch begins with a listing of what runs': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    await using later = new SchedulerView(scheduler)
    await later.until('a listing', () => later.listings === 1)
    assert.deepEqual(later.services.get('s')?.requested, 1)
    assert.deepEqual(
      later.instances('s').map(({ instanceId, state }) => ({ instanceId, state })),
      [{ instanceId: instance?.instanceId, state: 'healthy' }],
    )
  },

  'C16 a watch ends when it is aborted': async ({ scheduler }) => {
    const abort = new AbortController()
    const events = scheduler.watch(abort.signal)[Symbol.asyncIterator]()
    assert.equal((await events.next()).value?.kind, 'listing')
    const next = events.next()
    abort.abort()
    assert.deepEqual(await next, { done: true, value: undefined })
  },

  'C17 logs lists the working directory and nothing outside it': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    assert.ok(instance)
    const names = (await scheduler.logs(instance, '')).map(entry => entry.name)
    assert.ok(names.includes('stdout') && names.includes('stderr'), `has stdout and stderr: ${names}`)
    await assert.rejects(scheduler.logs(instance, '../..'), hasCode('WTR_BAD_PATH'))
    await assert.rejects(scheduler.logs({ ...instance, instanceId: 's.unknown' }, ''), hasCode('WTR_NO_SUCH_INSTANCE'))
  },

  'C17b a file is read in pieces, within the working directory only': async ({ scheduler, view, define }) => {
    await scheduler.create(define('s', 'healthy'), 1, FENCE)
    const [instance] = await view.untilHealthy('s', 1)
    assert.ok(instance)
    const whole = await scheduler.readLog(instance, 'stdout', { offset: 0, length: 1_000_000 })
    assert.equal(whole.content.length, whole.size)
    const beyond = await scheduler.readLog(instance, 'stdout', { offset: whole.size + 5, length: 10 })
    assert.deepEqual([beyond.content.length, beyond.size], [0, whole.size])
    const range = { offset: 0, length: 10 }
    for (const path of ['', '../..', '/etc/passwd', 'absent'])
      await assert.rejects(scheduler.readLog(instance, path, range), hasCode('WTR_BAD_PATH'))
    const unknown = { ...instance, instanceId: 's.unknown' }
    await assert.rejects(scheduler.readLog(unknown, 'stdout', range), hasCode('WTR_NO_SUCH_INSTANCE'))
  },

  'C17c an update is told to watchers and leaves what runs alone': async ({ scheduler, view, define }) => {
    const definition = define('s', 'healthy')
    await scheduler.create(definition, 1, FENCE)
    const [before] = await view.untilHealthy('s', 1)
    const changed = { ...definition, effective: { ...definition.effective, 'health-check-interval-secs': 599 } }
    await scheduler.update(changed, FENCE)
    await view.until(
      'the changed definition',
      () => view.services.get('s')?.definition.effective['health-check-interval-secs'] === 599,
    )
    assert.deepEqual(
      view.inState('s', 'healthy').map(instance => instance.instanceId),
      [before?.instanceId],
    )
    await scheduler.update({ ...changed, id: 'unknown' }, FENCE)
    await assert.rejects(scheduler.update(changed, { term: FENCE.term - 1 }), hasCode('WTR_FENCED'))
  },

  'C18 instances and counts survive a restart of Waiter, and so does the fence': async ({
    subject,
    scheduler,
    view,
    define,
  }) => {
    await scheduler.create(define('s', 'healthy'), 2, FENCE)
    const before = await view.untilHealthy('s', 2)
    const successor = await subject.reopen()
    await using after = new SchedulerView(successor)
    const adopted = await after.untilHealthy('s', 2)
    assert.deepEqual(
      adopted.map(instance => instance.instanceId).sort(),
      before.map(instance => instance.instanceId).sort(),
    )
    assert.equal(after.services.get('s')?.requested, 2)
    await assert.rejects(successor.scale('s', 9, { term: FENCE.term - 1 }), hasCode('WTR_FENCED'))
    const [victim] = adopted
    assert.ok(victim)
    assert.deepEqual(await successor.kill({ ...victim, graceMs: 5000, reason: 'adopted' }, FENCE), { kind: 'killed' })
    assert.equal((await after.untilEnded('s', victim.instanceId)).state, 'killed')
  },
}

function hasCode(code: string): (error: unknown) => boolean {
  return error => {
    assert.ok(error instanceof WaiterError, `a WaiterError, not ${String(error)}`)
    assert.equal(error.code, code)
    return true
  }
}
