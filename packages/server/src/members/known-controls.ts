import { existsSync, readFileSync } from 'node:fs'
import type { Logger } from '@waiter/base'
import { z } from 'zod'
import type { ControlMember } from '../process/messages.ts'
import { writeDurably } from '../write-durably.ts'

const MODE = 0o600

const knownFile = z.strictObject({
  format: z.literal(1),
  /** Of the list in the store; a later one counts more. */
  version: z.int().min(0),
  members: z.array(
    z.strictObject({
      id: z.int().min(1),
      nodeId: z.string(),
      hostId: z.string(),
      grpc: z.string(),
      raft: z.string(),
      sinceMs: z.number(),
    }),
  ),
})

/**
 * Where the control nodes of the whole cluster are, as this host heard it last: with it a host finds the others again,
 * whatever has become of those it joined by. Losing the file loses nothing but that.
 */
export class KnownControls {
  readonly #file: string
  readonly #log: Logger
  #version = 0
  #members: readonly ControlMember[] = []

  constructor(file: string, log: Logger) {
    this.#file = file
    this.#log = log
    if (!existsSync(file)) return
    try {
      const { version, members } = knownFile.parse(JSON.parse(readFileSync(file, 'utf8')))
      this.#version = version
      this.#members = members
    } catch (error) {
      log.warn({ err: error, file }, 'where the control nodes of other hosts are cannot be read; use --join to say it')
    }
  }

  get all(): readonly ControlMember[] {
    return this.#members
  }

  /** Those of other hosts. */
  others(hostId: string): readonly ControlMember[] {
    return this.#members.filter(member => member.hostId !== hostId && member.grpc !== '')
  }

  /** @returns whether that is news */
  take(members: readonly ControlMember[], version: number): boolean {
    if (version <= this.#version) return false
    this.#set(members, version)
    return true
  }

  /** Somebody who knows says so now, whatever was known before. */
  begin(members: readonly ControlMember[]): void {
    this.#set(members, 0)
  }

  /** What somebody else knows: of two addresses of one member the later one counts. */
  merge(members: readonly ControlMember[]): void {
    const byId = new Map(this.#members.map(member => [member.id, member]))
    for (const member of members)
      if (member.grpc !== '' && member.sinceMs > (byId.get(member.id)?.sinceMs ?? -1)) byId.set(member.id, member)
    this.#set([...byId.values()], this.#version)
  }

  #set(members: readonly ControlMember[], version: number): void {
    this.#version = version
    this.#members = members
    try {
      writeDurably(this.#file, `${JSON.stringify({ format: 1, version, members })}\n`, MODE)
    } catch (error) {
      this.#log.warn({ err: error, file: this.#file }, 'where the control nodes are could not be written down')
    }
  }
}
