import { createPrng, type Prng } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'
import { APPEND_THREAD, type Entry, encodeText, type Message, NO_DATA, RawNode } from '../src/index.ts'
import { confOf, entriesOf, TestNode } from './support/cluster.ts'

const ASYNC = { asyncStorageWrites: true, preVote: false, checkQuorum: false } as const
const CONF = confOf([1, 2, 3])

const follower = (): TestNode =>
  new TestNode(1, { conf: CONF, entries: entriesOf(1), hardState: { term: 1, vote: 0, commit: 1 } }, ASYNC)

const append = (from: number, term: number, previous: Entry, ...entries: readonly Entry[]): Message => {
  return { type: 'MsgApp', from, to: 1, term, index: previous.index, logTerm: previous.term, entries, commit: 1 }
}
const entry = (index: number, term: number): Entry => ({ kind: 'normal', index, term, data: NO_DATA })

/** The acknowledgements for others among the responses. */
const promises = (responses: readonly Message[]): string[] =>
  responses.flatMap(message => (message.type === 'MsgAppResp' ? `${message.to} ${message.index}` : []))

t.test('D5 an answer of an earlier term does not make durable what has come back under the same name', async t => {
  const node = follower()
  const base = entry(1, 1)
  node.raw.step(append(2, 2, base, entry(2, 2)))
  node.handle()
  node.raw.step(append(3, 3, base, entry(2, 3)))
  node.handle()
  // The leader of term 4 has the entry of term 2 again.
  node.raw.step(append(2, 4, base, entry(2, 2)))
  node.handle()
  t.equal(node.appendWork.length, 3)
  const answers = [1, 2, 3].map(() => node.appendNext())
  t.same(answers.map(promises), [['2 2'], ['3 2'], ['2 2']], 'each leader is answered for what it sent')
  const own = answers.map(all => all.filter(({ to }) => to === 1))
  // Committed: applied only once it is durable under its present name.
  node.raw.step({ type: 'MsgHeartbeat', from: 2, to: 1, term: 4, commit: 2, readRound: 0 })
  node.handle()
  for (const [at, expected] of [0, 0, 1].entries()) {
    for (const message of own[at]!) node.raw.step(message)
    if (node.raw.hasReady()) node.handle()
    const queued = node.applyWork.flatMap(({ entries }) => entries.filter(({ index }) => index === 2))
    t.equal(queued.length, expected, `after answer ${at + 1}`)
  }
})

t.test('D4 a snapshot that was stored counts also when the term has changed since', async t => {
  const node = follower()
  const snapshot = { index: 9, term: 2, conf: CONF, data: encodeText('state') }
  node.raw.step({ type: 'MsgSnap', from: 2, to: 1, term: 2, snapshot })
  node.handle()
  node.raw.step({ type: 'MsgHeartbeat', from: 3, to: 1, term: 3, commit: 0, readRound: 0 })
  t.equal(node.status.applied, 0)
  for (const message of node.appendNext()) if (message.to === 1) node.raw.step(message)
  t.equal(node.status.applied, 9)
})

t.test('what is local is not taken from the network', async t => {
  const { raw } = follower()
  t.same(raw.step({ type: 'MsgHup', from: 2, to: 1, term: 0 }), { kind: 'ignored', reason: 'localMessage' })
  const forged = {
    type: 'MsgStorageApplyResp',
    from: 2,
    to: 1,
    term: 0,
    index: 1,
    batchBytes: 0,
    payloadBytes: 0,
  } as const
  t.same(raw.step(forged), { kind: 'ignored', reason: 'localMessage' })
  const isDone = { type: 'MsgStorageAppendResp', from: APPEND_THREAD, to: 1, term: 1, snapshot: 0 } as const
  t.same(raw.step({ ...isDone, upTo: { index: 0, term: 0 } }), { kind: 'stepped' })
})

t.test('options that cannot work together are refused', async t => {
  const { storage } = follower()
  const options = { id: 1, random: createPrng(1), readOnly: 'leaseBased', checkQuorum: false } as const
  t.throws(() => new RawNode(options, storage), { code: 'RAFT_BAD_OPTIONS', message: /needs checkQuorum/ })
})

/** Nodes whose disks, state machines and messages move one step at a time, in any order. */
class Jumble {
  readonly nodes = [1, 2, 3].map(id => new TestNode(id, { conf: CONF }, ASYNC))
  readonly leaders = new Map<number, number>()
  #air: Message[] = []
  readonly #random: Prng

  constructor(seed: number) {
    this.#random = createPrng(seed)
  }

  act(): void {
    const node = this.nodes[this.#random.below(3)]!
    const draw = this.#random.next()
    if (draw < 0.3) this.#take(node)
    else if (draw < 0.45) this.#air.push(...node.appendNext())
    else if (draw < 0.6) this.#air.push(...node.applyNext())
    else if (draw < 0.9) this.#deliver()
    else if (draw < 0.98) this.#leader?.raw.propose(encodeText(`p${this.#random.below(1000)}`))
    else node.raw.tick()
  }

  /** No further proposals; everything moves until it rests. */
  settle(): void {
    for (let round = 0; round < 400; round++) {
      for (const node of this.nodes) {
        this.#take(node)
        while (node.appendWork.length > 0) this.#air.push(...node.appendNext())
        while (node.applyWork.length > 0) this.#air.push(...node.applyNext())
      }
      while (this.#air.length > 0) this.#deliver(0)
      const isStill = this.nodes.every(({ raw }) => !raw.hasReady())
      if (isStill && this.nodes.some(({ status }) => status.role === 'leader') && round > 50) return
      for (const { raw } of this.nodes) raw.tick()
    }
  }

  get #leader(): TestNode | undefined {
    return this.nodes.findLast(({ status }) => status.role === 'leader')
  }

  #take(node: TestNode): void {
    if (!node.raw.hasReady()) return
    const { sent } = node.handle()
    this.#air.push(...sent)
    const { role, hardState } = node.status
    if (role !== 'leader') return
    const other = this.leaders.get(hardState.term) ?? node.id
    if (other !== node.id) throw new Error(`nodes ${other} and ${node.id} lead in term ${hardState.term}`)
    this.leaders.set(hardState.term, node.id)
  }

  // In any order between nodes and, as the network may, also between two of them; but a node's own answers keep theirs.
  #deliver(at: number = this.#random.below(this.#air.length)): void {
    const chosen = this.#air[at]
    if (chosen === undefined) return
    const isOwn = ({ from, to }: Message): boolean => to === chosen.to && (from === to || from >= APPEND_THREAD - 1)
    const first = isOwn(chosen) ? this.#air.findIndex(isOwn) : at
    const [message] = this.#air.splice(first, 1)
    this.nodes[message!.to - 1]!.raw.step(message!)
  }
}

t.test('D1 D2 with writes and applications at any pace the nodes agree', async t => {
  let writes = 0
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), seed => {
      const jumble = new Jumble(seed)
      jumble.nodes[0]!.raw.campaign()
      for (let step = 0; step < 800; step++) jumble.act()
      jumble.settle()
      const [first, ...rest] = jumble.nodes
      const applied = first!.applied.map(({ index, term }) => `${term}/${index}`)
      writes += applied.length
      for (const node of rest) {
        if (node.applied.map(({ index, term }) => `${term}/${index}`).join() !== applied.join()) return false
      }
      return applied.length > 0
    }),
    { numRuns: 60 },
  )
  t.ok(writes > 500, `${writes} entries`)
})
