import fc from 'fast-check'
import t from 'tap'
import { isLinearizable, type Operation } from '../src/simulator/linearizability.ts'

const write = (client: number, invoke: number, end: number, version: number, expected?: number): Operation => ({
  client,
  invoke,
  return: end,
  action: { kind: 'write', expected, version },
})
const read = (client: number, invoke: number, end: number, version: number): Operation => ({
  client,
  invoke,
  return: end,
  action: { kind: 'read', version },
})

for (const [story, history, want] of [
  ['nothing happened', [], true],
  ['a read of what was written', [write(1, 0, 1, 1), read(2, 2, 3, 1)], true],
  ['a stale read', [write(1, 0, 1, 1), write(1, 2, 3, 2), read(2, 4, 5, 1)], false],
  ['a read of the future', [read(2, 0, 1, 1), write(1, 2, 3, 1)], false],
  ['during a write both are right', [write(1, 0, 1, 1), write(1, 2, 9, 2), read(2, 3, 4, 1), read(2, 5, 6, 2)], true],
  ['but time does not go back', [write(1, 0, 1, 1), write(1, 2, 9, 2), read(2, 3, 4, 2), read(2, 5, 6, 1)], false],
  ['touching operations overlap', [write(1, 0, 5, 1), read(2, 5, 6, 0)], true],
  ['an unknown write may have happened', [write(1, 0, Number.POSITIVE_INFINITY, 1), read(2, 5, 6, 1)], true],
  ['or happen later', [write(1, 0, Number.POSITIVE_INFINITY, 1), read(2, 5, 6, 0), read(2, 7, 8, 1)], true],
  ['but once', [write(1, 0, Number.POSITIVE_INFINITY, 1), read(2, 5, 6, 1), read(2, 7, 8, 0)], false],
  ['a compare-and-set that saw another value', [write(1, 0, 1, 1), write(2, 2, 3, 2, 0)], false],
  ['two compare-and-sets of one version', [write(1, 0, 9, 1, 0), write(2, 0, 9, 2, 0)], false],
  ['a lost update', [write(1, 0, 1, 1), write(2, 2, 9, 2, 1), write(3, 2, 9, 3, 1)], false],
] as const) {
  t.test(`X4 ${story}`, async t => {
    t.equal(isLinearizable(history), want)
  })
}

t.test('X4 a conflict needs a moment at which it was one', async t => {
  const conflict = (invoke: number, end: number, current: number | undefined): Operation => ({
    client: 2,
    invoke,
    return: end,
    action: { kind: 'conflict', expected: 0, current },
  })
  t.ok(isLinearizable([write(1, 0, 1, 1), conflict(2, 3, 1)]))
  t.notOk(isLinearizable([write(1, 0, 1, 1), conflict(2, 3, 7)]))
  t.notOk(isLinearizable([write(1, 4, 5, 1), conflict(2, 3, undefined)]), 'the register held what was expected')
})

// The dumb oracle: all orders.
function tryAllOrders(history: readonly Operation[], state = 0): boolean {
  if (history.length === 0) return true
  return history.some((operation, at) => {
    if (history.some(other => other !== operation && other.return < operation.invoke)) return false
    const { action } = operation
    let next = state
    if (action.kind === 'read' && action.version !== state) return false
    if (action.kind === 'conflict' && (action.expected === state || (action.current ?? state) !== state)) return false
    if (action.kind === 'write') {
      if (action.expected !== undefined && action.expected !== state) return false
      next = action.version
    }
    return tryAllOrders([...history.slice(0, at), ...history.slice(at + 1)], next)
  })
}

t.test('X4 agrees with trying all orders', async t => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('read' as const), version: fc.nat({ max: 2 }) }),
    fc.record({
      kind: fc.constant('write' as const),
      version: fc.nat({ max: 2 }),
      expected: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
    }),
    fc.record({
      kind: fc.constant('conflict' as const),
      expected: fc.nat({ max: 2 }),
      current: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
    }),
  )
  const operation = fc.record({
    client: fc.nat({ max: 3 }),
    invoke: fc.nat({ max: 8 }),
    length: fc.nat({ max: 5 }),
    action,
  })
  let accepted = 0
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 6 }), list => {
      const history = list.map(({ length, ...rest }): Operation => ({ ...rest, return: rest.invoke + length }))
      const want = tryAllOrders(history)
      if (want) accepted++
      return isLinearizable(history) === want
    }),
    { seed: 20_261_123, numRuns: 3000 },
  )
  t.ok(accepted > 300 && accepted < 2700, `both answers occur: ${accepted} of 3000 accepted`)
})
