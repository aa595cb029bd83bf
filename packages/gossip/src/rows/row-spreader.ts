import type { Prng } from '@waiter/base'
import { sample } from '../chance.ts'
import type { Member, MemberId } from '../member.ts'
import type { Effect, StreamMessage } from '../message.ts'
import type { GossipSettings } from '../settings.ts'
import { deltaBytes } from './row.ts'
import type { RowMap } from './row-map.ts'
import type { Digest, RowDelta, RowPosition } from './row-types.ts'

/** One message carries rows up to about this size; the next one carries the rest. */
const MESSAGE_BYTES_WANTED = 262_144
const ROW_OVERHEAD_BYTES = 128
/** Strangers whose rows came before they did, in a burst of newcomers. */
const STRANGERS_MAX = 1_024

/** D1–D5, D8: sends rows to those who lack them, and asks for what does not connect. */
export class RowSpreader {
  readonly #self: MemberId
  readonly #rows: RowMap
  readonly #settings: GossipSettings
  readonly #random: Prng
  readonly #onRow: (id: MemberId) => void
  /** How far each peer knows each row, as far as we know. */
  readonly #knownBy = new Map<MemberId, Map<MemberId, RowPosition>>()
  /** Owners of rows that were refused because nobody knew them. */
  readonly #strangers = new Set<MemberId>()
  isDirty = false
  #nextAtMs = 0
  gaps = 0
  refused = 0

  constructor(
    options: {
      readonly self: MemberId
      readonly settings: GossipSettings
      readonly random: Prng
      /** Another member's row changed. */
      readonly onRow: (id: MemberId) => void
    },
    rows: RowMap,
  ) {
    this.#self = options.self
    this.#settings = options.settings
    this.#random = options.random
    this.#onRow = options.onRow
    this.#rows = rows
  }

  get nextAtMs(): number {
    return this.isDirty ? this.#nextAtMs : Number.POSITIVE_INFINITY
  }

  /** D1: the own row to everybody in a small group, all rows to a few in a large one. */
  spread(peers: readonly Member[], nowMs: number): Effect[] {
    this.#nextAtMs = nowMs + this.#settings.rowIntervalMs
    const isMesh = peers.length < this.#settings.fullMeshMax
    const targets = isMesh ? peers : sample(peers, this.#settings.rowFanOut, this.#random)
    const owners = isMesh ? [this.#self] : this.#rows.owners()
    const effects: Effect[] = []
    for (const { id, address } of targets) {
      for (const message of this.#messagesFor(id, owners, nowMs)) effects.push({ kind: 'stream', to: address, message })
    }
    // A large group goes on until a round finds nobody who lacks anything; the full exchange finds the rest.
    this.isDirty = !isMesh && effects.length > 0
    return effects
  }

  /** D3: everything that somebody with this digest lacks. */
  answer(peer: MemberId, digest: Digest, nowMs: number): StreamMessage[] {
    if (this.#rows.noteOwn(digest.get(this.#self))) this.isDirty = true
    this.#knownBy.set(peer, new Map(digest))
    return this.#messagesFor(peer, this.#rows.owners(), nowMs)
  }

  /** D4: only the rows that were asked for. */
  answerWant(peer: MemberId, digest: Digest, nowMs: number): StreamMessage[] {
    const known = this.#knownOf(peer)
    for (const [owner, position] of digest) known.set(owner, position)
    return this.#messagesFor(peer, [...digest.keys()], nowMs)
  }

  /** Takes rows over; rows of strangers are refused (R8). Returns the question for what does not connect. */
  receive(
    message: Extract<StreamMessage, { kind: 'rows' }>,
    isMember: (id: MemberId) => boolean,
    nowMs: number,
  ): StreamMessage[] {
    const wanted = new Map<MemberId, RowPosition>()
    const known = this.#knownOf(message.from)
    for (const delta of message.rows) {
      const isKnown = delta.owner === this.#self || isMember(delta.owner)
      const outcome = isKnown ? this.#rows.merge(delta, nowMs) : 'refused'
      if (!isKnown && this.#strangers.size < STRANGERS_MAX) this.#strangers.add(delta.owner)
      if (outcome === 'gap') {
        this.gaps++
        wanted.set(delta.owner, this.#rows.position(delta.owner) ?? { generation: 0, version: 0 })
      } else if (outcome === 'refused') this.refused++
      else {
        known.set(delta.owner, { generation: delta.generation, version: delta.version })
        if (outcome === 'applied') this.#onRow(delta.owner)
        if (outcome === 'applied' || delta.owner === this.#self) this.isDirty = true
      }
    }
    return wanted.size === 0 ? [] : [{ kind: 'want', from: this.#self, digest: wanted }]
  }

  /** D8: asks for a row that was refused when its owner was not known. */
  wantRefused(owner: MemberId): StreamMessage | undefined {
    if (!this.#strangers.delete(owner)) return undefined
    return { kind: 'want', from: this.#self, digest: new Map([[owner, { generation: 0, version: 0 }]]) }
  }

  /** What was sent there may be lost: it is told everything again when there is something to tell. */
  forget(peer: MemberId): void {
    this.#knownBy.delete(peer)
  }

  #messagesFor(peer: MemberId, owners: readonly MemberId[], nowMs: number): StreamMessage[] {
    const known = this.#knownOf(peer)
    const messages: StreamMessage[] = []
    let rows: RowDelta[] = []
    let bytes = 0
    for (const owner of owners) {
      if (owner === peer) continue
      const delta = this.#rows.deltaSince(owner, known.get(owner), nowMs)
      if (delta === undefined) continue
      known.set(owner, { generation: delta.generation, version: delta.version })
      bytes += ROW_OVERHEAD_BYTES + deltaBytes(delta)
      rows.push(delta)
      if (bytes < MESSAGE_BYTES_WANTED) continue
      messages.push({ kind: 'rows', from: this.#self, rows })
      rows = []
      bytes = 0
    }
    if (rows.length > 0) messages.push({ kind: 'rows', from: this.#self, rows })
    return messages
  }

  #knownOf(peer: MemberId): Map<MemberId, RowPosition> {
    const known = this.#knownBy.get(peer) ?? new Map<MemberId, RowPosition>()
    this.#knownBy.set(peer, known)
    return known
  }
}
