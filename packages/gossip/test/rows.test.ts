import { createPrng } from '@waiter/base'
import fc from 'fast-check'
import t from 'tap'
import { RowMap } from '../src/rows/row-map.ts'
import type { RowDelta } from '../src/rows/row-types.ts'
import { DEFAULT_SETTINGS, type GossipSettings } from '../src/settings.ts'
import { addressOf, claim, Driven } from './support/member.ts'

const rowsOf = (self: string, generation = 1, limits: Partial<GossipSettings> = {}): RowMap =>
  new RowMap({ self, generation, limits: { ...DEFAULT_SETTINGS, ...limits }, random: createPrng(generation) })
const at = (nowMs: number, ttlMs?: number) => (ttlMs === undefined ? { nowMs } : { nowMs, ttlMs })
const read = (rows: RowMap, owner: string, nowMs = 0) => Object.fromEntries(rows.values(owner, nowMs) ?? [])

t.test('R1 the same value again is no change', async t => {
  const rows = rowsOf('a')
  t.equal(rows.set('k', '1', at(0)), 'written')
  t.equal(rows.set('k', '1', at(0)), 'unchanged')
  t.equal(rows.own.version, 1)
  t.notOk(rows.delete('other', 0))
  t.ok(rows.delete('k', 0))
  t.same(read(rows, 'a'), {})
})

/** All deltas that an owner of two lives could ever have sent, from and to every version. */
function history(writes: readonly (readonly [string, string | null])[], generation: number): RowDelta[] {
  const rows = rowsOf('a', generation)
  const deltas: RowDelta[] = []
  for (const [key, value] of writes) {
    if (value === null) rows.delete(key, 0)
    else rows.set(key, value, at(0))
    for (let base = 0; base < rows.own.version; base++) {
      const delta = rows.deltaSince('a', { generation, version: base }, 0)
      if (delta !== undefined) deltas.push(delta)
    }
  }
  return deltas
}

const anyWrites = fc.array(
  fc.tuple(fc.constantFrom('x', 'y', 'z'), fc.option(fc.constantFrom('1', '2', '3'), { freq: 3 })),
  { minLength: 1, maxLength: 8 },
)

t.test('R2 R4 merging is associative, commutative and idempotent', async () => {
  fc.assert(
    fc.property(anyWrites, anyWrites, fc.array(fc.nat(), { maxLength: 40 }), (first, second, order) => {
      const deltas = [...history(first, 1), ...history(second, 2)]
      if (deltas.length === 0) return true
      const shuffledOnce = order.map(index => deltas[index % deltas.length]!)
      const merged = (list: readonly RowDelta[]): string => {
        const rows = rowsOf('b')
        // A gap is not bridged: what did not connect is asked for, and comes again.
        for (const delta of list) rows.merge(delta, 0)
        for (const delta of deltas) rows.merge(delta, 0)
        return JSON.stringify([rows.position('a'), Object.entries(read(rows, 'a')).sort()])
      }
      return merged(shuffledOnce) === merged([]) && merged([...shuffledOnce, ...shuffledOnce]) === merged([])
    }),
    { seed: 7, numRuns: 300 },
  )
})

t.test('R2 R4 a copy is always what the owner had, under any schedule', async () => {
  fc.assert(
    fc.property(anyWrites, anyWrites, fc.array(fc.nat(), { maxLength: 40 }), (first, second, order) => {
      const deltas = [...history(first, 1), ...history(second, 2)]
      const had = new Map<string, string>()
      for (const [generation, writes] of [
        [1, first],
        [2, second],
      ] as const) {
        const owner = rowsOf('a', generation)
        for (const [key, value] of writes) {
          if (value === null) owner.delete(key, 0)
          else owner.set(key, value, at(0))
          had.set(JSON.stringify(owner.own), JSON.stringify(Object.entries(read(owner, 'a')).sort()))
        }
      }
      const copy = rowsOf('b')
      for (const index of order) {
        if (deltas.length === 0) return true
        copy.merge(deltas[index % deltas.length]!, 0)
        const position = copy.position('a')
        const now = JSON.stringify(Object.entries(read(copy, 'a')).sort())
        if (position !== undefined && had.get(JSON.stringify(position)) !== now) return false
      }
      return true
    }),
    { seed: 8, numRuns: 300 },
  )
})

t.test('R3 the own row is never overwritten; it goes on above an earlier life', async () => {
  fc.assert(
    fc.property(anyWrites, anyWrites, fc.integer({ min: 1, max: 3 }), (mine, theirs, generation) => {
      const rows = rowsOf('a', 2)
      for (const [key, value] of mine) value === null ? rows.delete(key, 0) : rows.set(key, value, at(0))
      const before = JSON.stringify(read(rows, 'a'))
      const deltas = history(theirs, generation)
      for (const delta of deltas) rows.merge(delta, 0)
      const isAbove = deltas.every(
        ({ generation, version }) =>
          rows.own.generation > generation || (rows.own.generation === generation && rows.own.version >= version),
      )
      return JSON.stringify(read(rows, 'a')) === before && isAbove
    }),
    { seed: 9, numRuns: 200 },
  )
})

t.test('R4 a gap is not bridged; old deletions make the whole row necessary', async t => {
  const owner = rowsOf('a')
  owner.set('x', '1', at(0))
  owner.set('y', '1', at(0))
  owner.set('z', '1', at(0))
  const copy = rowsOf('b')
  t.equal(copy.merge(owner.deltaSince('a', { generation: 1, version: 2 }, 0)!, 0), 'gap')
  t.equal(copy.merge(owner.deltaSince('a', { generation: 1, version: 1 }, 0)!, 0), 'gap')
  t.equal(copy.merge(owner.deltaSince('a', undefined, 0)!, 0), 'applied')
  t.equal(copy.merge(owner.deltaSince('a', undefined, 0)!, 0), 'stale')
  owner.delete('x', 0)
  owner.sweep(DEFAULT_SETTINGS.tombstoneMs)
  const late = owner.deltaSince('a', copy.position('a'), 0)!
  t.equal(late.base, 0, 'the deletion is forgotten')
  copy.merge(late, 0)
  t.same(read(copy, 'a'), { y: '1', z: '1' })
})

t.test('R5 a restart does not count twice; the dead are not counted, suspects are', async t => {
  const driven = new Driven()
  driven.hear(claim('b'), claim('c'))
  const send = (generation: number, value: string) => {
    const owner = rowsOf('b', generation)
    owner.set('outstanding', value, at(0))
    driven.stream({ kind: 'rows', from: 'b', rows: [owner.deltaSince('b', undefined, 0)!] })
  }
  const sum = (): number =>
    ['a', 'b', 'c'].reduce(
      (total, id) => total + Number(driven.gossip.row(id, driven.nowMs)?.get('outstanding') ?? 0),
      0,
    )
  driven.set('outstanding', '1')
  send(10, '5')
  t.equal(sum(), 6)
  send(20, '2')
  t.equal(sum(), 3, 'the new life only')
  send(10, '5')
  t.equal(sum(), 3, 'late words of the old one are nothing')
  driven.hear(claim('b', 'suspect'))
  t.equal(sum(), 3)
  driven.hear(claim('b', 'dead'))
  t.equal(sum(), 1)
})

t.test('R6 what is over is deleted by its owner, and deletions are forgotten in the end', async t => {
  const owner = rowsOf('a')
  owner.set('k', '1', at(0, 100))
  t.same(read(owner, 'a', 99), { k: '1' })
  t.same(read(owner, 'a', 100), {})
  owner.sweep(100)
  t.equal(owner.own.version, 2)
  t.match(owner.deltaSince('a', { generation: 1, version: 1 }, 100)?.entries, [{ key: 'k', value: undefined }])
  owner.sweep(100 + DEFAULT_SETTINGS.tombstoneMs)
  t.same(owner.deltaSince('a', undefined, 0)?.entries, [])
})

t.test('R7 hearing an entry again never prolongs it', async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(200)), { maxLength: 8 }), hops => {
      const owner = rowsOf('a')
      owner.set('k', '1', at(0, 100))
      const copy = rowsOf('b')
      let earliestMs = Number.POSITIVE_INFINITY
      let nowMs = 0
      for (const [waitMs, sentAtMs] of hops) {
        nowMs += waitMs
        // Something else changes, so that the row travels again.
        owner.set('other', `${nowMs} ${owner.own.version}`, at(0))
        const delta = owner.deltaSince('a', undefined, Math.min(sentAtMs, 99))!
        earliestMs = Math.min(earliestMs, nowMs + delta.entries.find(({ key }) => key === 'k')!.ttlMs!)
        copy.merge(delta, nowMs)
        if (read(copy, 'a', nowMs).k !== undefined && nowMs >= earliestMs) return false
        if (nowMs >= earliestMs) copy.sweep(nowMs)
      }
      return hops.length === 0 || read(copy, 'a', Math.max(nowMs, earliestMs)).k === undefined
    }),
    { seed: 3 },
  )
})

t.test('R8 everything is limited', async t => {
  const limits = { rowEntriesMax: 3, rowBytesMax: 400, keyBytesMax: 5, valueBytesMax: 300, membersMax: 2 }
  const rows = rowsOf('a', 1, limits)
  t.equal(rows.set('longer', '1', at(0)), 'key-too-long')
  t.equal(rows.set('k', 'x'.repeat(301), at(0)), 'value-too-long')
  for (const key of ['a', 'b', 'c']) t.equal(rows.set(key, '1', at(0)), 'written')
  t.equal(rows.set('d', '1', at(0)), 'row-full')
  t.equal(rows.set('a', 'x'.repeat(300), at(0)), 'row-full', 'in bytes')
  const foreign = rowsOf('b')
  for (let index = 0; index < 40; index++) foreign.set(`${index}`, '1', at(0))
  t.equal(rows.merge(foreign.deltaSince('b', undefined, 0)!, 0), 'refused')
  const small = (self: string) => {
    const owner = rowsOf(self)
    owner.set('k', '1', at(0))
    return owner.deltaSince(self, undefined, 0)!
  }
  t.equal(rows.merge(small('c'), 0), 'applied')
  t.equal(rows.merge(small('d'), 0), 'refused', 'one row too many')
  const driven = new Driven()
  driven.hear(claim('b'))
  driven.stream({ kind: 'rows', from: 'b', rows: [small('stranger')] })
  t.equal(driven.gossip.rowPosition('stranger'), undefined)
  t.equal(driven.gossip.status().rowsRefused, 1)
})

t.test('D1 D2 changes of one interval travel together, in a small group to everybody', async t => {
  const driven = new Driven()
  driven.hear(claim('b'), claim('c'))
  driven.pass(1_000, driven.answerAll)
  const sent = () => driven.streams().filter(({ message }) => message.kind === 'rows')
  driven.set('x', '1')
  driven.pass(10)
  driven.set('y', '1')
  driven.set('x', '2')
  driven.pass(1_000, driven.answerAll)
  t.same(
    sent()
      .map(({ to }) => to)
      .sort(),
    ['b', 'b', 'c', 'c'].map(addressOf),
  )
  t.match(sent().at(-1)?.message, { rows: [{ owner: 'a', base: 1, version: 3 }] })
  driven.hear(claim('d'))
  driven.pass(1_000, driven.answerAll)
  t.match(
    sent().slice(4),
    [{ to: addressOf('d'), message: { rows: [{ base: 0, version: 3 }] } }],
    'a newcomer gets all',
  )
})

t.test('D1 in a large group all rows go to three', async t => {
  const driven = new Driven({ fullMeshMax: 3 })
  driven.hear(...['b', 'c', 'd', 'e', 'f'].map(id => claim(id)))
  const owner = rowsOf('b')
  owner.set('k', '1', at(0))
  driven.stream({ kind: 'rows', from: 'b', rows: [owner.deltaSince('b', undefined, 0)!] })
  driven.pass(200, driven.answerAll)
  const sent = driven.streams().filter(({ message }) => message.kind === 'rows')
  t.ok(sent.length >= 2 && sent.length <= 3)
  t.ok(sent.every(({ to }) => to !== addressOf('b')))
  t.match(sent[0]?.message, { rows: [{ owner: 'b' }] })
})

t.test('D3 D4 both sides of an exchange get what they lack, and gaps are asked for', async t => {
  const driven = new Driven()
  driven.hear(claim('b'), claim('c'))
  driven.set('k', '1')
  const sync = { kind: 'sync', from: 'b', isReply: false, claims: [claim('b')] } as const
  const [reply, rows] = driven.stream({ ...sync, digest: new Map() })
  t.match(reply, { kind: 'sync', isReply: true, from: 'a' })
  t.match(rows, { kind: 'rows', rows: [{ owner: 'a', version: 1 }] })
  const known = new Map([['a', { generation: 10, version: 1 }]])
  t.equal(driven.stream({ ...sync, digest: known }).length, 1, 'nothing is lacking')
  t.same(driven.stream({ ...sync, isReply: true, digest: known }), [], 'a reply is not replied to')
  const owner = rowsOf('c', 5)
  owner.set('x', '1', at(0))
  owner.set('y', '1', at(0))
  const gap = owner.deltaSince('c', { generation: 5, version: 1 }, 0)!
  t.match(driven.stream({ kind: 'rows', from: 'c', rows: [gap] }), [{ kind: 'want' }])
  const [answer] = driven.stream({ kind: 'want', from: 'b', digest: new Map([['a', { generation: 0, version: 0 }]]) })
  t.match(answer, { kind: 'rows', rows: [{ owner: 'a', base: 0 }] })
})

t.test('D5 after a broken stream everything is told again', async t => {
  const driven = new Driven()
  driven.hear(claim('b'))
  driven.set('x', '1')
  driven.pass(1_000, driven.answerAll)
  driven.gossip.streamFailed(addressOf('b'))
  driven.set('y', '1')
  driven.pass(1_000, driven.answerAll)
  t.match(driven.streams().at(-1)?.message, { rows: [{ base: 0, version: 2 }] })
})

t.test('R9 a row that says something new is told, and its values are read with what is left of them', async t => {
  const member = new Driven()
  member.hear(claim('c'))
  const owner = rowsOf('c')
  const send = (known?: { generation: number; version: number }): void => {
    member.effects.length = 0
    const delta = owner.deltaSince('c', known, 0)!
    member.stream({ kind: 'rows', from: 'c', rows: [delta] })
  }
  const told = (): unknown[] => member.effects.filter(({ kind }) => kind === 'row')
  owner.set('ejected/x', '1', at(0, 5_000))
  owner.set('load', '2', at(0))
  send()
  t.same(told(), [{ kind: 'row', id: 'c' }])
  const entries = (prefix: string) => member.gossip.entries('c', prefix, member.nowMs + 1_000)
  t.same(entries('ejected/'), [{ key: 'ejected/x', value: '1', ttlMs: 4_000 }])
  t.same(
    entries('').map(({ key, ttlMs }) => [key, ttlMs]),
    [
      ['ejected/x', 4_000],
      ['load', Number.POSITIVE_INFINITY],
    ],
  )
  send()
  t.same(told(), [], 'the same again is nothing new')
  const known = owner.own
  owner.delete('load', 0)
  send(known)
  t.same(told(), [{ kind: 'row', id: 'c' }])
  t.same(member.gossip.entries('nobody', '', 0), [])
  member.hear(claim('c', 'left'))
  t.same(entries(''), [], 'nothing of who is not there')
})

t.test('D8 a row that came before its owner was known is asked for when it is', async t => {
  const member = new Driven()
  const owner = rowsOf('c')
  owner.set('k', '1', at(0))
  const delta = owner.deltaSince('c', undefined, 0)!
  member.stream({ kind: 'rows', from: 'c', rows: [delta] })
  t.equal(member.gossip.status().rowsRefused, 1)
  member.hear(claim('b'), claim('c'))
  const wants = () => member.effects.filter(effect => effect.kind === 'stream' && effect.message.kind === 'want')
  t.match(wants(), [{ to: addressOf('c'), message: { from: 'a', digest: new Map([['c', { version: 0 }]]) } }])
  t.equal(wants().length, 1, 'and nothing of others')
})
