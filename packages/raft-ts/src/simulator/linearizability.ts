/** What a register of one key holds: the version of its last write; 0: nothing. */
export type RegisterState = number

/** One operation on one key, from a client's view. Times are positions in the run; equal times overlap. */
export interface Operation {
  readonly client: number
  readonly invoke: number
  /** Infinity: nobody knows when, or whether before the end. */
  readonly return: number
  readonly action:
    | { readonly kind: 'read'; readonly version: RegisterState }
    /** Wrote `version` (0: deleted); `expected` undefined: unconditionally. */
    | { readonly kind: 'write'; readonly expected: RegisterState | undefined; readonly version: RegisterState }
    /** Refused, because the register held `current` and not `expected`; undefined: the answer came from a retry. */
    | { readonly kind: 'conflict'; readonly expected: RegisterState; readonly current: RegisterState | undefined }
}

interface Node {
  readonly operation: Operation
  readonly id: number
  readonly isCall: boolean
  match: Node | undefined
  previous: Node | undefined
  next: Node | undefined
}

/**
 * Whether some order of the operations, in which each takes effect between its call and its return, explains all
 * answers. Wing and Gong's search with Lowe's memory of visited (set of operations, state) pairs; one key at a time,
 * because linearizability is local. Exponential at worst: keep histories per key below a few hundred operations.
 */
export function isLinearizable(history: readonly Operation[]): boolean {
  const head = buildList(history)
  const linearized = new Uint8Array(history.length)
  const visited = new Set<string>()
  const stack: { readonly call: Node; readonly state: RegisterState }[] = []
  let state: RegisterState = 0
  let at = head.next
  let left = history.length
  while (left > 0) {
    if (at?.isCall === true) {
      const next = apply(state, at.operation)
      if (next !== undefined && remember(visited, linearized, at.id, next)) {
        stack.push({ call: at, state })
        state = next
        lift(at)
        left--
        at = head.next
      } else at = at.next
      continue
    }
    // A return whose call could not be placed before it (or the end): take back the last choice.
    const last = stack.pop()
    if (last === undefined) return false
    state = last.state
    linearized[last.call.id] = 0
    unlift(last.call)
    left++
    at = last.call.next
  }
  return true
}

function apply(state: RegisterState, { action }: Operation): RegisterState | undefined {
  if (action.kind === 'read') return action.version === state ? state : undefined
  if (action.kind === 'write')
    return action.expected === undefined || action.expected === state ? action.version : undefined
  const isExplained = action.expected !== state && (action.current === undefined || action.current === state)
  return isExplained ? state : undefined
}

function remember(visited: Set<string>, linearized: Uint8Array, id: number, state: RegisterState): boolean {
  linearized[id] = 1
  const key = `${String.fromCharCode(...linearized)}${state}`
  if (visited.has(key)) {
    linearized[id] = 0
    return false
  }
  visited.add(key)
  return true
}

function buildList(history: readonly Operation[]): Node {
  const events: { readonly time: number; readonly order: number; readonly node: Node }[] = []
  history.forEach((operation, id) => {
    const call: Node = { operation, id, isCall: true, match: undefined, previous: undefined, next: undefined }
    const end: Node = { operation, id, isCall: false, match: undefined, previous: undefined, next: undefined }
    call.match = end
    events.push({ time: operation.invoke, order: 0, node: call }, { time: operation.return, order: 1, node: end })
  })
  // Calls before returns at equal times: what touches overlaps.
  events.sort((a, b) => (a.time === b.time ? a.order - b.order : a.time < b.time ? -1 : 1))
  const head: Node = {
    operation: history[0]!,
    id: -1,
    isCall: true,
    match: undefined,
    previous: undefined,
    next: undefined,
  }
  let last = head
  for (const { node } of events) {
    last.next = node
    node.previous = last
    last = node
  }
  return head
}

function lift(call: Node): void {
  for (const node of [call, call.match!]) {
    if (node.previous !== undefined) node.previous.next = node.next
    if (node.next !== undefined) node.next.previous = node.previous
  }
}

function unlift(call: Node): void {
  for (const node of [call.match!, call]) {
    if (node.previous !== undefined) node.previous.next = node
    if (node.next !== undefined) node.next.previous = node
  }
}
