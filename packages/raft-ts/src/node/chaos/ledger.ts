import { closeSync, openSync, writeSync } from 'node:fs'
import { type Applied, type KeyValueCommand, KeyValueMachine, type LogIndex } from '../../index.ts'
import type { StateMachine } from '../state-machine.ts'

/** One line of a ledger: what one process did, in the order in which it did it. */
export type LedgerLine =
  | {
      readonly kind: 'applied'
      readonly index: LogIndex
      /** The entry's bytes in base64; empty for a leader's first entry and for membership changes. */
      readonly data: string
      readonly applied: Applied
      /** The machine's checksum after it. */
      readonly digest: number
    }
  /** This process became leader of a term. */
  | { readonly kind: 'led'; readonly term: number }

/** Where lines go. */
export interface LedgerWriter {
  write(line: LedgerLine): unknown
}

/**
 * Writes down what a process applies, before anybody is told of it. The kernel keeps what was written when the process is
 * killed. One file for each start, so that only a last line can be torn.
 */
export class Ledger implements LedgerWriter {
  readonly #file: number

  constructor(path: string) {
    this.#file = openSync(path, 'a', 0o600)
  }

  write(line: LedgerLine): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Reads a ledger; a torn last line is left out. */
export function parseLedger(text: string): LedgerLine[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line) as LedgerLine)
}

const NOTHING: Applied = { result: { kind: 'nothing' }, change: undefined }

/** The replicated map, with a line in the ledger for everything that is applied. */
export class LedgeredMap implements StateMachine<Applied> {
  readonly recovered: undefined = undefined
  readonly map: KeyValueMachine
  readonly #ledger: LedgerWriter

  constructor(ledger: LedgerWriter, remembersWrites: boolean) {
    this.#ledger = ledger
    this.map = new KeyValueMachine({ remembersWrites })
  }

  apply(index: LogIndex, data: Uint8Array): Applied {
    const applied = this.map.apply(index, data) ?? NOTHING
    const text = Buffer.from(data).toString('base64')
    this.#ledger.write({ kind: 'applied', index, data: text, applied, digest: this.map.digest })
    return applied
  }

  applyConf(index: LogIndex): void {
    this.map.skip(index)
    this.#ledger.write({ kind: 'applied', index, data: '', applied: NOTHING, digest: this.map.digest })
  }

  capture(): Iterable<Uint8Array> {
    return [this.map.encode()]
  }

  async restore(content: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = []
    for await (const piece of content) pieces.push(piece)
    this.map.restore(Buffer.concat(pieces))
  }
}

/** What a client asks a member, over HTTP. */
export type MemberRequest =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'command'; readonly command: KeyValueCommand }
  /** The whole map as this member has it, whoever leads. */
  | { readonly kind: 'dump' }
  | { readonly kind: 'transfer'; readonly to: number }
