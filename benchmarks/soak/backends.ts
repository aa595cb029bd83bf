import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fate, type Ledger } from './ledger.ts'

/** What the backends wrote down, held against what the clients sent. */
export interface BackendCount {
  /** Requests that reached a backend, repeats included. */
  readonly arrivals: number
  /** Idempotent requests that reached backends more than once. */
  readonly repeated: number
  /** Others that did: must be 0. */
  readonly wronglyRepeated: number
  /** Numbers that nobody sent: must be 0. */
  readonly unknown: number
  /** Requests answered 200 that no backend knows of: must be 0. */
  readonly answeredByNobody: number
  /** Requests that never reached a backend: left or failed while they waited. */
  readonly neverArrived: number
}

const RECORD_BYTES = 4
const ARRIVALS_SHOWN_MAX = 255

/** Reads what every instance, killed or not, has written. */
export function countArrivals(directory: string, ledger: Ledger): BackendCount {
  const arrivals = new Uint8Array(ledger.sent)
  let total = 0
  let unknown = 0
  for (const name of readdirSync(directory).filter(one => one.startsWith('backend-'))) {
    const bytes = readFileSync(join(directory, name))
    for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
      const number = bytes.readUInt32LE(at)
      total += 1
      if (number >= arrivals.length) unknown += 1
      else arrivals[number] = Math.min(ARRIVALS_SHOWN_MAX, arrivals[number]! + 1)
    }
  }
  const counted = { repeated: 0, wronglyRepeated: 0, answeredByNobody: 0, neverArrived: 0 }
  for (let number = 0; number < arrivals.length; number++) {
    const times = arrivals[number]!
    if (times > 1 && ledger.mayRepeat(number)) counted.repeated += 1
    else if (times > 1) counted.wronglyRepeated += 1
    if (times > 0) continue
    if (ledger.fateOf(number) === Fate.OK) counted.answeredByNobody += 1
    else counted.neverArrived += 1
  }
  return { arrivals: total, unknown, ...counted }
}
