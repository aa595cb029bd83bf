import { silentLogger } from '@waiter/base'
import { within } from '@waiter/testkit'
import t from 'tap'
import {
  BEFORE_FIRST_ANSWER,
  type DepartureWatch,
  HostDeparture,
  type HostStates,
  judgeDeparture,
} from '../src/control/host-departure.ts'

const own = (more: Partial<HostStates[number]>): HostStates => [
  { hostId: 'other', drains: false, isLeft: false, instances: 9 },
  { hostId: 'own', drains: true, isLeft: true, instances: 2, ...more },
]

/** Answers, each with its time, until there is nothing to wait for. */
function judge(...answers: readonly (readonly [nowMs: number, answer: HostStates | undefined])[]) {
  let watch: DepartureWatch = BEFORE_FIRST_ANSWER
  for (const [nowMs, answer] of answers) {
    const { end, ...next } = judgeDeparture(watch, answer, { hostId: 'own', nowMs })
    if (end !== undefined) return `${end} at ${nowMs}`
    watch = next
  }
  return 'waits'
}

for (const [story, answers, want] of [
  [
    'what runs is being moved',
    [
      [0, own({})],
      [60_000, own({})],
    ],
    'waits',
  ],
  [
    'nothing runs any more',
    [
      [0, own({})],
      [300, own({ instances: 0 })],
    ],
    'emptied at 300',
  ],
  ['a leader that does not know yet may start something', [[0, own({ instances: 0, drains: false })]], 'waits'],
  [
    'the leader does not know this host yet',
    [
      [0, []],
      [100, own({}).slice(0, 1)],
    ],
    'waits',
  ],
  [
    'all hosts stop',
    [
      [0, own({ isLeft: false })],
      [999, own({ isLeft: false })],
      [1_000, own({ isLeft: false })],
    ],
    'nowhere at 1000',
  ],
  [
    'others are heard in time',
    [
      [0, own({ isLeft: false })],
      [999, own({})],
      [1_500, own({ isLeft: false })],
    ],
    'waits',
  ],
  [
    'nobody leads',
    [
      [0, undefined],
      [4_000, []],
      [5_000, undefined],
    ],
    'leaderless at 5000',
  ],
  [
    'a new leader is there in time',
    [
      [0, undefined],
      [4_900, own({})],
      [5_100, undefined],
    ],
    'waits',
  ],
] as const satisfies readonly (readonly [string, readonly (readonly [number, HostStates | undefined])[], string])[])
  t.test(`the departure of a host: ${story}`, async test => test.equal(judge(...answers), want))

t.test('a host asks until nothing is left, and not any more once it stays', async test => {
  const answers: HostStates[] = [own({}), own({ instances: 0 })]
  const ended = Promise.withResolvers<string>()
  let changes = 0
  const departure = new HostDeparture({
    hostId: 'own',
    ask: async () => answers.shift() ?? [],
    onChange: () => changes++,
    onEnd: ended.resolve,
    log: silentLogger,
  })
  departure.set(true)
  departure.set(true)
  test.ok(departure.drains)
  test.equal(await within(ended.promise, 'the end'), 'emptied')
  test.same(answers, [])
  departure.set(false)
  test.equal(changes, 2)
  departure.stop()
})
