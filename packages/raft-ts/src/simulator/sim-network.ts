import type { Prng } from '@waiter/base'
import { describeMessage } from '../describe.ts'
import type { Message } from '../message.ts'
import type { NodeId } from '../types.ts'
import { exponentialMs } from './profile.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

/** Numbers for the trace hash. */
const TYPE_NUMBERS: Readonly<Record<string, number>> = {
  MsgProp: 1,
  MsgApp: 2,
  MsgAppResp: 3,
  MsgVote: 4,
  MsgVoteResp: 5,
  MsgPreVote: 6,
  MsgPreVoteResp: 7,
  MsgSnap: 8,
  MsgHeartbeat: 9,
  MsgHeartbeatResp: 10,
  MsgTransferLeader: 11,
  MsgTimeoutNow: 12,
  MsgReadIndex: 13,
  MsgReadIndexResp: 14,
}
const SNAPSHOT_EXTRA_MS = 30

/** Links between nodes: they lose, repeat, delay and reorder, and can be cut one way or both, for a while. */
export class SimNetwork {
  readonly #world: World
  readonly #random: Prng
  /** Until when a directed link is cut. */
  readonly #cutUntilMs = new Map<number, number>()
  readonly #slowUntilMs = new Map<number, number>()
  /** When the last message of a directed link arrives: in-order links deliver no earlier. */
  readonly #lastArrivalMs = new Map<number, number>()
  isHealed = false
  #epoch = 0

  constructor(world: World) {
    this.#world = world
    this.#random = world.fork('network')
  }

  cut(from: NodeId, to: NodeId, untilMs: number): void {
    this.#cutUntilMs.set(linkOf(from, to), untilMs)
  }

  slow(from: NodeId, to: NodeId, untilMs: number): void {
    this.#slowUntilMs.set(linkOf(from, to), untilMs)
  }

  heal(): void {
    this.isHealed = true
    this.#cutUntilMs.clear()
    this.#slowUntilMs.clear()
    // Streams are reset: what was on its way is lost.
    this.#lastArrivalMs.clear()
    this.#epoch++
  }

  sendAll(from: SimNode, messages: readonly Message[]): void {
    for (const message of messages) this.#send(from, message)
  }

  #send(from: SimNode, message: Message): void {
    this.#world.checker.onSent(from, message)
    const { profile } = this.#world
    const link = linkOf(from.id, message.to)
    // All draws are made whatever happens, so that one fault more or less does not shift the rest.
    const [dropDraw, duplicateDraw, unreachableDraw] = [this.#random.next(), this.#random.next(), this.#random.next()]
    const delayMs = this.#delayMs(link)
    const canDrop = profile.enabled.has('drop') && !this.isHealed
    const isCut = (this.#cutUntilMs.get(link) ?? 0) > this.#world.nowMs
    if (isCut || (canDrop && dropDraw < profile.dropRate)) {
      this.#lose(from, message, { isReported: unreachableDraw < 0.3, delayMs })
      return
    }
    this.#deliver(from, message, delayMs)
    const canDuplicate = profile.enabled.has('duplicate') && !this.isHealed
    if (canDuplicate && duplicateDraw < profile.duplicateRate) this.#deliver(from, message, delayMs * 3 + 1)
  }

  #delayMs(link: number): number {
    const { profile, nowMs } = this.#world
    let delayMs = exponentialMs(this.#random, this.isHealed ? 2 : profile.meanDelayMs)
    if ((this.#slowUntilMs.get(link) ?? 0) > nowMs) delayMs = delayMs * 20 + 50
    if (profile.enabled.has('reorder') && !this.isHealed) return delayMs
    const arrivalMs = Math.max(nowMs + delayMs, this.#lastArrivalMs.get(link) ?? 0)
    this.#lastArrivalMs.set(link, arrivalMs)
    return arrivalMs - nowMs
  }

  #deliver(from: SimNode, message: Message, delayMs: number): void {
    const world = this.#world
    const to = world.nodes.get(message.to)
    if (to === undefined) return
    const isSnapshot = message.type === 'MsgSnap'
    const totalMs = isSnapshot ? delayMs + SNAPSHOT_EXTRA_MS : delayMs
    const epoch = this.#epoch
    let isDelivered = false
    world.scheduleOn(to, totalMs, () => {
      if (epoch !== this.#epoch) return
      isDelivered = true
      if (world.isTracing) world.trace(describeMessage(message, data => `#${data.length}`))
      world.note(3, TYPE_NUMBERS[message.type] ?? 0, message.from, message.to, message.term)
      to.receive(message)
    })
    if (!isSnapshot) return
    // The sender's transport learns whether it arrived, from the answer or from its time-out.
    const { incarnation } = from
    world.schedule(totalMs + SNAPSHOT_EXTRA_MS, () =>
      this.#reportSnapshot(from, incarnation, { to: to.id, isDelivered }),
    )
  }

  #lose(from: SimNode, message: Message, how: { readonly isReported: boolean; readonly delayMs: number }): void {
    const { incarnation } = from
    if (message.type === 'MsgSnap') this.#reportSnapshot(from, incarnation, { to: message.to, isDelivered: false })
    else if (how.isReported) {
      this.#world.scheduleOn(from, how.delayMs, () => {
        if (from.incarnation === incarnation) from.request(raw => raw.reportUnreachable(message.to))
      })
    }
  }

  #reportSnapshot(
    from: SimNode,
    incarnation: number,
    what: { readonly to: NodeId; readonly isDelivered: boolean },
  ): void {
    this.#world.scheduleOn(from, SNAPSHOT_EXTRA_MS, () => {
      if (from.incarnation === incarnation) from.request(raw => raw.reportSnapshot(what.to, what.isDelivered))
    })
  }
}

const MAX_NODES = 1024

function linkOf(from: NodeId, to: NodeId): number {
  return from * MAX_NODES + to
}
