import { silentLogger } from '@waiter/base'
import t from 'tap'
import { Leadership, type Reign } from '../src/control/leadership.ts'

interface FakeReign extends Reign {
  readonly term: number
  isHalted: boolean
  readonly gone: PromiseWithResolvers<void>
}

/** What the leadership does, in order; beginnings and ends are the test's to allow. */
function createWorld() {
  const events: string[] = []
  const begun: {
    readonly term: number
    readonly signal: AbortSignal
    readonly done: PromiseWithResolvers<FakeReign>
  }[] = []
  const leadership = new Leadership<FakeReign>({
    begin: (term, signal) => {
      const done = Promise.withResolvers<FakeReign>()
      events.push(`begin ${term}`)
      begun.push({ term, signal, done })
      return done.promise
    },
    onChange: reign => events.push(reign === undefined ? 'nobody' : `serves ${reign.term}`),
    log: silentLogger,
  })
  const reignOf = (term: number): FakeReign => {
    const gone = Promise.withResolvers<void>()
    const reign: FakeReign = {
      term,
      gone,
      isHalted: false,
      halt: () => {
        if (!reign.isHalted) events.push(`halt ${term}`)
        reign.isHalted = true
      },
      ended: () => gone.promise,
    }
    return reign
  }
  const settle = async (): Promise<void> => {
    const TURNS = 5
    for (let turn = 0; turn < TURNS; turn++) await new Promise(setImmediate)
  }
  return { events, begun, leadership, reignOf, settle }
}

t.test('it begins with the leadership and is halted within the turn in which that is lost', async t => {
  const { events, begun, leadership, reignOf, settle } = createWorld()
  leadership.set(3)
  const reign = reignOf(3)
  begun[0]?.done.resolve(reign)
  await settle()
  t.same(events, ['begin 3', 'serves 3'])
  leadership.set(undefined)
  t.same(events, ['begin 3', 'serves 3', 'halt 3', 'nobody'], 'at once')
  t.ok(begun[0]?.signal.aborted)
})

t.test('the next one waits until nothing of the former acts any more', async t => {
  const { events, begun, leadership, reignOf, settle } = createWorld()
  leadership.set(3)
  const former = reignOf(3)
  begun[0]?.done.resolve(former)
  await settle()
  leadership.set(undefined)
  leadership.set(7)
  await settle()
  t.notOk(events.includes('begin 7'))
  former.gone.resolve()
  await settle()
  begun[1]?.done.resolve(reignOf(7))
  await settle()
  t.same(events.slice(-2), ['begin 7', 'serves 7'])
  t.equal(leadership.current?.term, 7)
})

t.test('a leadership that is lost while it begins never serves', async t => {
  const { events, begun, leadership, reignOf, settle } = createWorld()
  leadership.set(3)
  leadership.set(undefined)
  const reign = reignOf(3)
  begun[0]?.done.resolve(reign)
  reign.gone.resolve()
  await settle()
  t.same(events, ['begin 3', 'halt 3'])
  t.equal(leadership.current, undefined)
  leadership.set(4)
  await settle()
  t.equal(begun.length, 2, 'and the next one begins')
})

t.test('a beginning that fails is tried again while this node leads', async t => {
  const { events, begun, leadership, reignOf, settle } = createWorld()
  leadership.set(3)
  begun[0]?.done.reject(new Error('no scheduler'))
  while (begun.length < 2) await settle()
  begun[1]?.done.resolve(reignOf(3))
  await settle()
  t.same(events, ['begin 3', 'begin 3', 'serves 3'])
})

t.test('frozen, it keeps what runs, whatever becomes of the leadership', async t => {
  const { events, begun, leadership, reignOf, settle } = createWorld()
  leadership.set(3)
  const reign = reignOf(3)
  begun[0]?.done.resolve(reign)
  await settle()
  t.equal(await leadership.freeze(), reign)
  leadership.set(undefined)
  leadership.set(9)
  await settle()
  t.same(events, ['begin 3', 'serves 3'])
  t.notOk(reign.isHalted)
})

t.test('frozen while it begins, nothing is left running', async t => {
  const { begun, leadership, reignOf } = createWorld()
  leadership.set(3)
  const frozen = leadership.freeze()
  t.ok(begun[0]?.signal.aborted)
  const reign = reignOf(3)
  reign.gone.resolve()
  begun[0]?.done.resolve(reign)
  t.equal(await frozen, undefined)
  t.ok(reign.isHalted)
})
