import { decodeCommand, type KeyValueCommand, type LogIndex } from '../../index.ts'
import { isLinearizable, type Operation } from '../../simulator/linearizability.ts'
import { nameOf, Oracle } from '../../simulator/oracle.ts'
import { Violation } from '../../simulator/violation.ts'
import type { ClientOperation } from './client.ts'
import type { LedgerLine } from './ledger.ts'

type AppliedLine = Extract<LedgerLine, { kind: 'applied' }>

/** The whole map of one member at the end. */
export interface Dump {
  readonly member: number
  readonly applied: LogIndex
  readonly digest: number
  readonly entries: readonly (readonly [key: string, version: number, value: string])[]
}

/** Everything that was written down in a run. */
export interface Evidence {
  /** By member and start. */
  readonly ledgers: readonly { readonly member: number; readonly lines: readonly LedgerLine[] }[]
  readonly operations: readonly ClientOperation[]
  readonly dumps: readonly Dump[]
}

/** What the evidence comes to. */
export interface Verdict {
  /** Empty: everything is as it must be. */
  readonly violations: readonly string[]
  readonly entries: number
  readonly terms: number
  readonly acknowledged: number
  /** Acknowledged writes that are not in the end state's history. */
  readonly lost: number
  readonly keys: number
  /** The longest history that was checked for linearizability. */
  readonly longestHistory: number
}

/** More are not told one by one. */
const VIOLATIONS_MAX = 20

/**
 * Judges a run by what was written down: what the members applied, and what clients were told.
 *
 * 1. One leader a term; every index applied the same by everybody, in every life; no index missing.
 * 2. The oracle: no write takes effect twice, none against its condition, no answer without its effect.
 * 3. Whole history, in linear time: what returned before another began stands before it in the log; a read's answer is
 *    what the log says at the index it was served at.
 * 4. Per key, by Wing, Gong and Lowe's search, without looking at indexes: some order explains all answers.
 * 5. At the end all members hold exactly what the log says: no acknowledged write is lost.
 */
export function judge({ ledgers, operations, dumps }: Evidence): Verdict {
  const found = new Findings()
  const terms = checkLeaders(ledgers, found)
  const log = mergeLedgers(ledgers, found)
  const oracle = new Oracle()
  found.guard(() => {
    for (const line of log) oracle.onApplied(line.index, commandOf(line), line.applied)
  })
  const truth = new Truth(log)
  const lost = checkAcknowledged(operations, oracle, found)
  checkRealTime(operations, { oracle, truth }, found)
  const histories = historiesByKey(operations, oracle)
  let longestHistory = 0
  for (const [key, history] of histories) {
    longestHistory = Math.max(longestHistory, history.length)
    if (!isLinearizable(history))
      found.add(`the history of ${key} (${history.length} operations) has no explaining order`)
  }
  for (const dump of dumps) checkDump(dump, truth, found)
  return {
    violations: found.all,
    entries: log.length,
    terms,
    acknowledged: oracle.acknowledgedCount,
    lost,
    keys: histories.size,
    longestHistory,
  }
}

class Findings {
  readonly all: string[] = []

  add(text: string): void {
    if (this.all.length < VIOLATIONS_MAX) this.all.push(text)
  }

  /** Takes what a check of the simulator throws. */
  guard(run: () => void): boolean {
    try {
      run()
      return true
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      this.add(error.message)
      return false
    }
  }
}

/** What the log says each key held at each index. */
class Truth {
  readonly #changesByKey = new Map<string, { readonly index: LogIndex; version: number; value: string | undefined }[]>()
  readonly lastIndex: LogIndex

  constructor(log: readonly AppliedLine[]) {
    for (const { index, applied } of log) {
      const { change } = applied
      if (change === undefined) continue
      const changes = this.#changesByKey.get(change.key) ?? []
      this.#changesByKey.set(change.key, changes)
      const value = change.kind === 'put' ? change.value : undefined
      changes.push({ index, version: value === undefined ? 0 : change.version, value })
    }
    this.lastIndex = log.at(-1)?.index ?? 0
  }

  at(key: string, index: LogIndex): { readonly version: number; readonly value: string | undefined } {
    const change = this.#changesByKey.get(key)?.findLast(candidate => candidate.index <= index)
    return change ?? { version: 0, value: undefined }
  }

  /** All keys that hold something at the end. */
  entries(): Map<string, { readonly version: number; readonly value: string }> {
    const all = new Map<string, { readonly version: number; readonly value: string }>()
    for (const [key, changes] of this.#changesByKey) {
      const { version, value } = changes.at(-1)!
      if (value !== undefined) all.set(key, { version, value })
    }
    return all
  }
}

function checkLeaders(ledgers: Evidence['ledgers'], found: Findings): number {
  const leaderByTerm = new Map<number, number>()
  for (const { member, lines } of ledgers) {
    for (const line of lines) {
      if (line.kind !== 'led') continue
      const other = leaderByTerm.get(line.term) ?? member
      if (other !== member) found.add(`members ${other} and ${member} both led in term ${line.term}`)
      leaderByTerm.set(line.term, member)
    }
  }
  return leaderByTerm.size
}

function mergeLedgers(ledgers: Evidence['ledgers'], found: Findings): AppliedLine[] {
  const lineByIndex = new Map<
    LogIndex,
    { readonly line: AppliedLine; readonly text: string; readonly member: number }
  >()
  for (const { member, lines } of ledgers) {
    let before = 0
    for (const line of lines) {
      if (line.kind !== 'applied') continue
      if (line.index <= before) found.add(`member ${member} applied ${line.index} after ${before}`)
      before = line.index
      const text = JSON.stringify(line)
      const known = lineByIndex.get(line.index)
      if (known === undefined) lineByIndex.set(line.index, { line, text, member })
      else if (known.text !== text) {
        found.add(`members ${known.member} and ${member} differ at ${line.index}: ${known.text} and ${text}`)
      }
    }
  }
  const log = [...lineByIndex.values()].map(({ line }) => line).sort((a, b) => a.index - b.index)
  // The first index is the one all members begin with.
  log.forEach((line, at) => {
    if (line.index !== log[0]!.index + at) found.add(`nobody wrote down that ${log[0]!.index + at} was applied`)
  })
  return log
}

function commandOf({ data }: AppliedLine): KeyValueCommand {
  // What is no command changes nothing; the oracle only looks at writes.
  return data === '' ? { kind: 'openSession' } : decodeCommand(Buffer.from(data, 'base64'))
}

const writeNameOf = ({ session, sequence, value }: { session: number; sequence: number; value: string | undefined }) =>
  nameOf(session, sequence, value)

function checkAcknowledged(operations: readonly ClientOperation[], oracle: Oracle, found: Findings): number {
  let lost = 0
  for (const { action } of operations) {
    if (action.kind !== 'write') continue
    if (!found.guard(() => oracle.onAcknowledged(writeNameOf(action.command), action.version))) lost++
  }
  return lost
}

// What is known to be over when something begins stands before it in the log.
function checkRealTime(
  operations: readonly ClientOperation[],
  { oracle, truth }: { readonly oracle: Oracle; readonly truth: Truth },
  found: Findings,
): void {
  const returns = operations
    .flatMap(operation => {
      const index = indexOf(operation, oracle)
      return index === undefined || operation.returnMs === undefined ? [] : { atMs: operation.returnMs, index }
    })
    .sort((a, b) => a.atMs - b.atMs)
  let floor = 0
  let at = 0
  for (const operation of operations.toSorted((a, b) => a.invokeMs - b.invokeMs)) {
    while (at < returns.length && returns[at]!.atMs < operation.invokeMs) floor = Math.max(floor, returns[at++]!.index)
    const { action, client, key } = operation
    const index = indexOf(operation, oracle)
    if (index !== undefined && (action.kind === 'read' ? index < floor : index <= floor)) {
      found.add(`client ${client}: a ${action.kind} of ${key} stands at ${index}, but ${floor} was over when it began`)
    }
    if (action.kind !== 'read') continue
    const { version, value } = truth.at(key, action.index)
    if (version === action.version && value === action.value) continue
    const told = `version ${action.version} (${action.value})`
    found.add(`client ${client} read ${told} of ${key} at ${action.index}, where the log has ${version} (${value})`)
  }
}

function indexOf({ action }: ClientOperation, oracle: Oracle): LogIndex | undefined {
  if (action.kind === 'read') return action.index
  return action.kind === 'write' ? oracle.effectOf(writeNameOf(action.command))?.index : undefined
}

function historiesByKey(operations: readonly ClientOperation[], oracle: Oracle): Map<string, Operation[]> {
  const histories = new Map<string, Operation[]>()
  for (const operation of operations) {
    const checked = toChecked(operation, oracle)
    if (checked === undefined) continue
    const history = histories.get(operation.key) ?? []
    histories.set(operation.key, history)
    history.push(checked)
  }
  return histories
}

function toChecked(operation: ClientOperation, oracle: Oracle): Operation | undefined {
  const { client, action } = operation
  const times = { client, invoke: operation.invokeMs, return: operation.returnMs ?? Number.POSITIVE_INFINITY }
  if (action.kind === 'read') return { ...times, action: { kind: 'read', version: action.version } }
  const { command } = action
  if (action.kind === 'conflict') {
    return { ...times, action: { kind: 'conflict', expected: command.expected ?? 0, current: action.current } }
  }
  // Nobody told, but it did take effect; or it never will, since all that follows stands behind it.
  const version = action.kind === 'write' ? action.version : oracle.effectOf(writeNameOf(command))?.version
  if (version === undefined) return undefined
  const written = command.value === undefined ? 0 : version
  return { ...times, action: { kind: 'write', expected: command.expected, version: written } }
}

function checkDump({ member, applied, entries }: Dump, truth: Truth, found: Findings): void {
  if (applied !== truth.lastIndex) found.add(`member ${member} ends at ${applied}, the log at ${truth.lastIndex}`)
  const expected = truth.entries()
  for (const [key, version, value] of entries) {
    const entry = expected.get(key)
    if (entry?.version !== version || entry.value !== value) {
      found.add(`member ${member} ends with ${key} at version ${version} (${value}), the log with ${entry?.version}`)
    }
    expected.delete(key)
  }
  for (const [key, { version }] of expected) found.add(`member ${member} has lost ${key} of version ${version}`)
}
