import fc from 'fast-check'
import t from 'tap'
import {
  ByteReader,
  ByteWriter,
  crc32c,
  cutSnapshot,
  decodeCommand,
  encodeCommand,
  encodeText,
  type KeyValueCommand,
  KeyValueMachine,
  type KeyValueOptions,
  MalformedBytes,
  SnapshotAssembler,
  type WriteCommand,
} from '../src/index.ts'

const SEED = { seed: 20_261_123, numRuns: 300 }

/** A machine that gives out the indexes itself. */
class Applier {
  readonly machine: KeyValueMachine

  constructor(options: KeyValueOptions = {}) {
    this.machine = new KeyValueMachine(options)
  }

  apply(command: KeyValueCommand) {
    return this.machine.apply(this.machine.applied + 1, encodeCommand(command))!.result
  }

  write(key: string, value: string | undefined, rest: Partial<WriteCommand> = {}) {
    return this.apply({
      kind: 'write',
      session: 0,
      sequence: 0,
      firstPending: 0,
      key,
      expected: undefined,
      value,
      ...rest,
    })
  }

  open(): number {
    const result = this.apply({ kind: 'openSession' })
    if (result.kind !== 'opened') throw new Error('no session')
    return result.session
  }
}

t.test('K1 versions count every write and are never reused', async t => {
  const map = new Applier()
  t.same(map.write('a', '1'), { kind: 'written', version: 1 })
  t.same(map.write('b', '1'), { kind: 'written', version: 2 })
  t.same(map.write('a', undefined), { kind: 'written', version: 3 })
  t.same(map.write('a', '2'), { kind: 'written', version: 4 })
  t.same(map.machine.get('a'), { key: 'a', value: '2', version: 4 })
  t.equal(map.machine.version, 4)
  t.equal(map.machine.size, 2)
})

for (const [story, prepare, expected, want] of [
  ['a new key must not exist', [], 0, { kind: 'written', version: 1 }],
  ['a key that exists is in the way', ['x'], 0, { kind: 'conflict', current: { key: 'a', value: 'x', version: 1 } }],
  ['the right version', ['x', 'y'], 2, { kind: 'written', version: 3 }],
  ['an old version', ['x', 'y'], 1, { kind: 'conflict', current: { key: 'a', value: 'y', version: 2 } }],
  ['a version of a key that is gone', ['x', undefined], 1, { kind: 'conflict', current: undefined }],
  ['a deleted key does not exist', ['x', undefined], 0, { kind: 'written', version: 3 }],
] as const) {
  t.test(`K2 ${story}`, async t => {
    const map = new Applier()
    for (const value of prepare) map.write('a', value)
    t.same(map.write('a', 'new', { expected }), want)
  })
}

t.test('K3 a retried write is answered as the first time, and applied once', async t => {
  const map = new Applier()
  const session = map.open()
  const command = { session, sequence: 1, firstPending: 1, expected: 0 }
  t.same(map.write('a', 'x', command), { kind: 'written', version: 1 })
  map.write('a', 'y', { expected: 1 })
  t.same(map.write('a', 'x', command), { kind: 'written', version: 1 })
  t.match(map.machine.get('a'), { value: 'y', version: 2 })
})

t.test('K3 a retried conflict stays one, though it would fit now', async t => {
  const map = new Applier()
  const session = map.open()
  map.write('a', 'x')
  const command = { session, sequence: 1, firstPending: 1, expected: 0 }
  t.match(map.write('a', 'y', command), { kind: 'conflict', current: { value: 'x' } })
  map.write('a', undefined)
  t.same(map.write('a', 'y', command), { kind: 'conflict', current: undefined })
  t.equal(map.machine.get('a'), undefined)
})

t.test('K3 without a session every attempt counts', async t => {
  const map = new Applier()
  map.write('a', 'x')
  map.write('a', 'x')
  t.equal(map.machine.version, 2)
})

t.test('K4 the least recently used session is forgotten', async t => {
  const map = new Applier({ limits: { maxSessions: 2 } })
  const first = map.open()
  const second = map.open()
  map.write('a', 'x', { session: first, sequence: 1, firstPending: 1 })
  map.open()
  t.match(map.write('a', 'y', { session: first, sequence: 2, firstPending: 2 }), { kind: 'written' })
  t.same(map.write('a', 'y', { session: second, sequence: 1, firstPending: 1 }), {
    kind: 'refused',
    reason: 'unknownSession',
  })
})

t.test('K4 results are bounded until the client lets go', async t => {
  const map = new Applier({ limits: { maxResultsPerSession: 2 } })
  const session = map.open()
  for (const sequence of [1, 2]) map.write('a', 'x', { session, sequence, firstPending: 1 })
  t.same(map.write('a', 'x', { session, sequence: 3, firstPending: 1 }), { kind: 'refused', reason: 'tooManyPending' })
  t.match(map.write('a', 'x', { session, sequence: 3, firstPending: 3 }), { kind: 'written', version: 3 })
  t.same(map.write('a', 'x', { session, sequence: 1, firstPending: 1 }), {
    kind: 'refused',
    reason: 'alreadyForgotten',
  })
})

t.test('K5 a closed session is unknown, and nothing is changed', async t => {
  const map = new Applier()
  const session = map.open()
  t.same(map.apply({ kind: 'closeSession', session }), { kind: 'closed' })
  t.same(map.write('a', 'x', { session, sequence: 1, firstPending: 1 }), { kind: 'refused', reason: 'unknownSession' })
  t.equal(map.machine.version, 0)
})

t.test('K6 lists by literal prefix, in key order', async t => {
  const map = new Applier()
  for (const key of ['b', 'a/2', 'a', 'a/1', 'a.', 'a/10']) map.write(key, key)
  const keys = (prefix: string) => map.machine.list(prefix).map(entry => entry.key)
  t.same(keys('a/'), ['a/1', 'a/10', 'a/2'])
  t.same(keys(''), ['a', 'a.', 'a/1', 'a/10', 'a/2', 'b'])
  map.write('a/1', undefined)
  map.write('a/3', 'x')
  map.write('a/2', 'changed')
  t.same(keys('a/'), ['a/10', 'a/2', 'a/3'])
  t.same(keys('c'), [])
})

t.test('K7 a watcher gets every change below its prefix, in order and in portions', async t => {
  const map = new Applier()
  for (const [key, value] of [
    ['a/1', 'x'],
    ['b', 'x'],
    ['a/1', undefined],
    ['a/2', 'y'],
  ] as const)
    map.write(key, value)
  t.same(map.machine.changesSince(0, { prefix: 'a/', limit: 2 }), {
    kind: 'changes',
    version: 3,
    changes: [
      { kind: 'put', key: 'a/1', value: 'x', version: 1 },
      { kind: 'delete', key: 'a/1', version: 3 },
    ],
  })
  t.match(map.machine.changesSince(3, { prefix: 'a/', limit: 2 }), { version: 4, changes: [{ key: 'a/2' }] })
  t.same(map.machine.changesSince(4, { prefix: 'a/', limit: 2 }), { kind: 'changes', version: 4, changes: [] })
})

t.test('K7 a watcher that is too far behind is told', async t => {
  const map = new Applier({ limits: { maxRecentChanges: 4 } })
  for (let at = 0; at < 50; at++) map.write('a', String(at))
  t.same(map.machine.changesSince(10, { prefix: '', limit: 100 }), { kind: 'lagged' })
  t.match(map.machine.changesSince(46, { prefix: '', limit: 100 }), { changes: { length: 4 } })
  const other = new KeyValueMachine()
  other.restore(map.machine.encode())
  t.same(
    other.changesSince(49, { prefix: '', limit: 100 }),
    { kind: 'lagged' },
    'after a snapshot only the present is known',
  )
  t.match(other.changesSince(50, { prefix: '', limit: 100 }), { changes: [] })
})

const ofSession = {
  session: fc.integer({ min: 0, max: 6 }),
  sequence: fc.nat({ max: 5 }),
  firstPending: fc.nat({ max: 3 }),
}
const keyWrite = {
  key: fc.constantFrom('a', 'b', 'ü', ''),
  expected: fc.option(fc.nat({ max: 4 }), { nil: undefined }),
  value: fc.option(fc.string(), { nil: undefined }),
}
const command = fc.oneof(
  fc.constant<KeyValueCommand>({ kind: 'openSession' }),
  fc.record({ kind: fc.constant('write' as const), ...ofSession, ...keyWrite }),
  fc.record({
    kind: fc.constant('writeAll' as const),
    ...ofSession,
    writes: fc.uniqueArray(fc.record(keyWrite), { selector: ({ key }) => key, minLength: 1 }),
  }),
)

t.test('K10 several writes take effect all together, or none of them', async t => {
  const map = new Applier()
  const session = map.open()
  map.write('b', 'old')
  map.write('c', 'goes')
  const writes = [
    { key: 'a', expected: 0, value: 'new' },
    { key: 'b', expected: 1, value: 'new' },
    { key: 'c', expected: 2, value: undefined },
  ]
  const all = { kind: 'writeAll', session, sequence: 1, firstPending: 1 } as const
  const misfit = { ...all, writes: [...writes, { key: 'd', expected: 9, value: 'x' }] }
  t.same(map.apply({ ...misfit, session: 0 }), { kind: 'conflict', current: undefined })
  t.same(
    map.machine.list('').map(({ key, value }) => `${key} ${value}`),
    ['b old', 'c goes'],
    'nothing, though most of them would have fitted',
  )
  t.same(map.apply({ ...all, writes }), { kind: 'written', version: 5 })
  t.same(
    map.machine.list('').map(({ key, value, version }) => `${key} ${value} ${version}`),
    ['a new 3', 'b new 4'],
    'each is a write with a version of its own',
  )
  t.match(map.machine.changesSince(2, { prefix: '', limit: 9 }), {
    changes: [{ key: 'a' }, { key: 'b' }, { key: 'c' }],
  })
  t.same(map.apply({ ...all, writes }), { kind: 'written', version: 5 }, 'a retry is answered as the first time')
  const late = { ...all, sequence: 2, writes: [{ key: 'b', expected: 1, value: 'late' }] }
  for (const _ of ['first', 'retry']) t.match(map.apply(late), { kind: 'conflict', current: { key: 'b', version: 4 } })
  t.equal(map.machine.version, 5)
})

t.test('K8 a restored machine goes on as the original does', async () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 30 }), fc.array(command, { maxLength: 30 }), (before, after) => {
      const limits = { maxSessions: 3, maxResultsPerSession: 3 }
      const original = new Applier({ limits })
      for (const one of before) original.apply(one)
      const copy = new Applier({ limits })
      copy.machine.restore(original.machine.encode())
      for (const one of after) {
        if (JSON.stringify(original.apply(one)) !== JSON.stringify(copy.apply(one))) return false
      }
      return original.machine.digest === copy.machine.digest && original.machine.applied === copy.machine.applied
    }),
    SEED,
  )
})

t.test('K8 commands survive their encoding', async () => {
  fc.assert(
    fc.property(command, one => JSON.stringify(decodeCommand(encodeCommand(one))) === JSON.stringify(one)),
    SEED,
  )
})

t.test('K8 an entry is applied once, and in order', async t => {
  const machine = new KeyValueMachine()
  const data = encodeCommand({ kind: 'openSession' })
  t.ok(machine.apply(1, data))
  t.equal(machine.apply(1, data), undefined)
  t.throws(() => machine.apply(3, data), /entry 3 applied after 1/)
  machine.skip(2)
  t.same(machine.apply(3, new Uint8Array(0))?.result, { kind: 'nothing' })
})

t.test('K8 damaged bytes are noticed', async t => {
  const map = new Applier()
  map.write('key', 'value')
  const bytes = map.machine.encode()
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => new KeyValueMachine().restore(bytes.subarray(0, length)), MalformedBytes, `cut off at ${length}`)
  }
  t.throws(() => new KeyValueMachine().restore(new Uint8Array([9])), /newer release/)
  t.throws(() => decodeCommand(new Uint8Array([77])), /unknown command/)
  t.throws(() => new ByteReader(new Uint8Array([1, 0xff])).text(), /not UTF-8/)
  t.throws(() => new ByteReader(new Uint8Array(9).fill(0xff)).varint(), /too large/)
})

t.test('K8 numbers and texts survive', async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.maxSafeNat(), fc.string())), list => {
      const writer = new ByteWriter(1)
      for (const [number, text] of list) writer.varint(number).text(text)
      const reader = new ByteReader(writer.finish())
      return list.every(([number, text]) => reader.varint() === number && reader.text() === text) && reader.isAtEnd
    }),
    SEED,
  )
})

t.test('K8 a snapshot travels in bounded pieces and is put together again', async () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.integer({ min: 1, max: 30 }),
      fc.boolean(),
      (bytes, most, isRepeated) => {
        const assembler = new SnapshotAssembler(1000)
        let whole: Uint8Array | undefined
        for (const chunk of cutSnapshot(bytes, most)) {
          if (chunk.bytes.length > most) return false
          for (let times = isRepeated ? 2 : 1; times > 0; times--) {
            const result = assembler.push(chunk)
            if (!result.ok) return false
            whole = result.value
          }
        }
        return whole !== undefined && whole.length === bytes.length && whole.every((byte, at) => byte === bytes[at])
      },
    ),
    SEED,
  )
})

t.test('K8 pieces that do not belong end the assembly', async t => {
  const chunks = [...cutSnapshot(encodeText('0123456789'), 4)]
  const [first, second] = [chunks[0]!, chunks[1]!]
  const fails = (bad: object, why: RegExp, maxBytes = 100) => {
    const assembler = new SnapshotAssembler(maxBytes)
    assembler.push(first)
    const result = assembler.push({ ...second, ...bad })
    t.match(result.ok ? 'taken' : result.error, why)
  }
  fails({ crc32c: 1 }, /damaged/)
  fails({ offset: 8 }, /missing/)
  fails({ totalBytes: 11 }, /another snapshot/)
  fails({}, /exceeds the limit/, 5)
  const long = new Uint8Array(20)
  fails({ bytes: long, crc32c: crc32c(long) }, /beyond the end/)
})

t.test("K8 the checksum is Castagnoli's", async t => {
  t.equal(crc32c(encodeText('123456789')), 0xe3069283)
  t.equal(crc32c(encodeText('6789'), crc32c(encodeText('12345'))), 0xe3069283)
  t.equal(crc32c(new Uint8Array(0)), 0)
})

t.test('K9 a machine may begin with entries from elsewhere, whose versions go on', async t => {
  const map = new Applier()
  const entries = [
    { key: 'a', value: '1', version: 4 },
    { key: 'b', value: '2', version: 2 },
  ]
  map.machine.seed(entries, 6)
  t.same(map.machine.list(''), entries)
  t.same(map.write('a', '3', { expected: 4 }), { kind: 'written', version: 7 })
  t.same(map.machine.changesSince(5, { prefix: '', limit: 10 }), { kind: 'lagged' })
  const copy = new KeyValueMachine()
  copy.restore(map.machine.encode())
  t.same(copy.list(''), map.machine.list(''))
  t.throws(() => map.machine.seed(entries, 9), /applied nothing/)
  t.throws(() => new KeyValueMachine().seed(entries, 3), /version 4 in a state of version 3/)
})
