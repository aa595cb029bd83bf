import fc from 'fast-check'
import t from 'tap'
import { crc32c, type Entry, MalformedBytes, type Message, NO_DATA } from '../../src/index.ts'
import { decodeMessages, encodeMessages } from '../../src/node/index.ts'
import { checksum } from '../../src/node/wal/checksum.ts'

const SEED = 20_260_601

const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const data = fc.uint8Array({ maxLength: 300 })
const change = fc.record({
  transition: fc.constantFrom('auto' as const, 'implicit' as const, 'explicit' as const),
  changes: fc.array(
    fc.record({
      kind: fc.constantFrom('addVoter' as const, 'addLearner' as const, 'remove' as const, 'update' as const),
      id: number,
    }),
    { maxLength: 4 },
  ),
  context: data,
})
const ids = fc.array(number, { maxLength: 4 })
const conf = fc.record({
  voters: ids,
  votersOutgoing: ids,
  learners: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
})
const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({ kind: fc.constant('normal' as const), index: number, term: number, data }),
  fc.record({ kind: fc.constant('confChange' as const), index: number, term: number, change }),
)
const envelope = { from: number, to: number, term: number }
const of = <T extends Message['type']>(type: T) => fc.constant(type)
const text = fc.string()
const proposed = fc.oneof(
  fc.record({ kind: fc.constant('normal' as const), data }),
  fc.record({ kind: fc.constant('confChange' as const), change }),
)
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ type: of('MsgProp'), ...envelope, entries: fc.array(proposed, { maxLength: 3 }) }),
  fc.record({
    type: of('MsgApp'),
    ...envelope,
    index: number,
    logTerm: number,
    commit: number,
    entries: fc.array(entry, { maxLength: 4 }),
  }),
  fc.record({
    type: of('MsgAppResp'),
    ...envelope,
    index: number,
    reject: fc.boolean(),
    rejectHint: number,
    logTerm: number,
  }),
  fc.record({
    type: fc.constantFrom('MsgVote' as const, 'MsgPreVote' as const),
    ...envelope,
    index: number,
    logTerm: number,
    isTransfer: fc.boolean(),
  }),
  fc.record({
    type: fc.constantFrom('MsgVoteResp' as const, 'MsgPreVoteResp' as const),
    ...envelope,
    reject: fc.boolean(),
  }),
  fc.record({
    type: fc.constantFrom('MsgVoteResp' as const, 'MsgPreVoteResp' as const),
    ...envelope,
    reject: fc.boolean(),
    knownCommit: fc.record({ index: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), term: number }),
  }),
  fc.record({
    type: of('MsgSnap'),
    ...envelope,
    snapshot: fc.record({ index: number, term: number, conf, data: fc.constant(NO_DATA) }),
  }),
  fc.record({ type: of('MsgHeartbeat'), ...envelope, commit: number, readRound: number }),
  fc.record({ type: of('MsgHeartbeatResp'), ...envelope, readRound: number }),
  fc.record({ type: fc.constantFrom('MsgTransferLeader' as const, 'MsgTimeoutNow' as const), ...envelope }),
  fc.record({ type: of('MsgReadIndex'), ...envelope, readId: text }),
  fc.record({ type: of('MsgReadIndexResp'), ...envelope, readId: text, index: number }),
)

t.test('messages of every type come out as they went in', async t => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), messages => {
      t.same(decodeMessages(encodeMessages(messages)), messages)
    }),
    { seed: SEED, numRuns: 300 },
  )
})

t.test('bytes that are cut off or changed are refused, or are another message, but nothing else happens', async t => {
  fc.assert(
    fc.property(message, fc.nat(), fc.integer({ min: 0, max: 255 }), (original, position, value) => {
      const bytes = encodeMessages([original])
      const at = position % bytes.length
      for (const broken of [bytes.subarray(0, at), bytes.with(at, value)]) {
        try {
          decodeMessages(broken)
        } catch (error) {
          if (!(error instanceof MalformedBytes)) throw error
        }
      }
    }),
    { seed: SEED, numRuns: 500 },
  )
  t.throws(() => decodeMessages(Uint8Array.of(99, 1, 2, 3)), { message: /unknown message 99/ })
})

t.test('the fast checksum is CRC-32C', async t => {
  t.equal(checksum(Buffer.from('123456789')), 0xe3069283)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 100 }), (first, second) => {
      t.equal(checksum(first), crc32c(first))
      t.equal(checksum(second, checksum(first)), crc32c(Buffer.concat([first, second])), 'in pieces')
    }),
    { seed: SEED, numRuns: 300 },
  )
})
