import { silentLogger } from '@waiter/base'
import t from 'tap'
import { AsyncFollowUp } from '../../src/async/async-follow-up.ts'
import type { AsyncRequests } from '../../src/async/async-requests.ts'
import { exampleTicket } from '../support/async.ts'

const ticket = exampleTicket()

/** Other routers that say what the test wants. */
class World {
  nowMs = 0
  answers: readonly (boolean | null)[] = [false]
  silentRouterIds: readonly string[] = []
  failure: Error | undefined
  hasLeader = true
  held = new Set<string>()
  readonly asked: string[] = []
  readonly adopted: string[] = []
  readonly followUp = new AsyncFollowUp({
    requests: () => ({
      isHeld: requestId => this.held.has(requestId),
      complete: requestId => this.held.delete(requestId),
      adopt: ({ requestId }) => {
        this.adopted.push(requestId)
        return true
      },
    }),
    leader: () =>
      this.hasLeader
        ? {
            askRouters: async (topic, argument) => {
              this.asked.push(`${topic} ${JSON.stringify(argument)}`)
              if (this.failure !== undefined) throw this.failure
              const answers = this.answers.map((answer, index) => ({ routerId: `router-${index}`, answer }))
              return { answers, silentRouterIds: this.silentRouterIds }
            },
          }
        : undefined,
    nowMs: () => this.nowMs,
    log: silentLogger,
  })

  async work(): Promise<void> {
    this.followUp.onWorking(ticket, {} as Parameters<AsyncRequests['adopt']>[1])
    await new Promise<void>(resolve => setImmediate(resolve))
  }
}

t.test('a request that is over is over here, or at whoever keeps it', async t => {
  const w = new World()
  w.held.add('r-1')
  w.followUp.onOver(ticket)
  t.same([...w.held], [])
  t.same(w.asked, [])
  w.followUp.onOver(ticket)
  t.same(w.asked, ['async-complete {"requestId":"r-1"}'])
})

for (const [story, change, isAdopted] of [
  ['nobody keeps it', {}, true],
  ['another router keeps it', { answers: [false, true] }, false],
  ['a router says nothing', { silentRouterIds: ['router-9'] }, false],
  ['a router of an older version knows no such question', { answers: [null] }, false],
  ['the leader does not answer', { failure: new Error('gone') }, false],
  ['there is no leader', { hasLeader: false }, false],
  ['it is kept here', { held: new Set(['r-1']) }, false],
] as const)
  t.test(`its instance works, and ${story}`, async t => {
    const w = new World()
    Object.assign(w, change)
    await w.work()
    t.same(w.adopted, isAdopted ? ['r-1'] : [])
  })

t.test('whoever keeps a slot is not looked for all the time', async t => {
  const w = new World()
  w.answers = [true]
  await w.work()
  w.nowMs = 4_999
  await w.work()
  t.equal(w.asked.length, 1)
  w.nowMs = 5_000
  w.answers = [false]
  await w.work()
  t.equal(w.asked.length, 2)
  t.same(w.adopted, ['r-1'], 'its router was lost meanwhile')
})
