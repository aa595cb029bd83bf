import type { Prng } from '@waiter/base'
import { decodeCommand, encodeCommand, type WriteCommand } from '../kv/command.ts'
import type { NodeId } from '../types.ts'
import type { ClientReply, ClientRequest } from './client-protocol.ts'
import type { Operation } from './linearizability.ts'
import { nameOf } from './oracle.ts'
import { exponentialMs } from './profile.ts'
import type { World } from './world.ts'

/** One operation of a client with what it knows of it. */
interface Running {
  readonly key: string
  readonly invoke: number
  /** undefined: a read. */
  readonly write: WriteCommand | undefined
  attempts: number
}

/** An operation with the key it was on. */
export interface KeyedOperation extends Operation {
  readonly key: string
}

const ATTEMPT_TIMEOUT_MS = 250
/** Mean wait after a refusal. */
const RETRY_MS = 40
const MAX_ATTEMPTS = 20

/** A client that does one thing at a time, retries what it may, and writes down what it was told. */
export class SimClient {
  readonly #world: World
  readonly #random: Prng
  readonly #history: KeyedOperation[]
  /** Changes when an operation's fate stays unknown: to a checker it is another client then. */
  #identity: number
  #session = 0
  #sequence = 0
  #serial = 0
  #running: Running | undefined
  /** Answers to earlier attempts at something else are recognised by this. */
  #turn = 0
  #leaderHint: NodeId = 0
  readonly #versionByKey = new Map<string, number>()
  isStopped = false

  constructor(world: World, id: number, history: KeyedOperation[]) {
    this.#world = world
    this.#identity = id
    this.#history = history
    this.#random = world.fork(`client ${id}`)
    this.#think()
  }

  get isIdle(): boolean {
    return this.#running === undefined
  }

  #think(): void {
    if (this.isStopped) return
    this.#world.schedule(exponentialMs(this.#random, this.#world.profile.meanThinkMs), () => this.#next())
  }

  #next(): void {
    if (this.isStopped) return
    const turn = ++this.#turn
    // A forwarded proposal may arrive twice, which only a session can make harmless.
    const wantsSession = this.#random.next() < 0.9 || this.#world.profile.settings.forwardProposals === true
    if (this.#session === 0 && wantsSession) {
      this.#openSession(turn)
      return
    }
    const key = `k${this.#random.below(this.#world.profile.keyCount)}`
    const isRead = this.#random.next() < 0.4
    const write = isRead ? undefined : this.#drawWrite(key, wantsSession ? this.#session : 0)
    this.#running = { key, invoke: this.#world.eventCount, write, attempts: 0 }
    this.#attempt(turn)
  }

  #drawWrite(key: string, session: number): WriteCommand {
    const [kindDraw, deleteDraw] = [this.#random.next(), this.#random.next()]
    const expected = kindDraw < 0.6 ? (this.#versionByKey.get(key) ?? 0) : undefined
    const sequence = ++this.#sequence
    const value = deleteDraw < 0.1 && session !== 0 ? undefined : `${this.#identity}.${++this.#serial}`
    return { kind: 'write', session, sequence, firstPending: sequence, key, expected, value }
  }

  #openSession(turn: number): void {
    this.#send({ kind: 'command', data: encodeCommand({ kind: 'openSession' }) }, reply => {
      if (turn !== this.#turn) return
      if (reply.kind === 'applied' && reply.result.kind === 'opened') {
        this.#session = reply.result.session
        this.#sequence = 0
      } else if (reply.kind === 'failed') this.#leaderHint = reply.leader
      this.#turn++
      this.#think()
    })
    this.#world.schedule(ATTEMPT_TIMEOUT_MS, () => {
      if (turn === this.#turn) this.#next()
    })
  }

  #attempt(turn: number): void {
    const running = this.#running
    if (running === undefined || turn !== this.#turn) return
    const { key, write } = running
    const attempt = ++running.attempts
    const request: ClientRequest =
      write === undefined ? { kind: 'read', key } : { kind: 'command', data: encodeCommand(write) }
    this.#send(request, reply => {
      if (turn === this.#turn) this.#onReply(reply, { turn, attempt })
    })
    this.#world.schedule(ATTEMPT_TIMEOUT_MS, () => {
      if (turn === this.#turn && running.attempts === attempt) this.#retry(turn)
    })
  }

  #retry(turn: number): void {
    const running = this.#running!
    // Without a session a second attempt could take effect twice.
    const canRetry = running.write === undefined || running.write.session !== 0
    const limit = this.isStopped ? MAX_ATTEMPTS * 10 : MAX_ATTEMPTS
    if (canRetry && running.attempts < limit) this.#attempt(turn)
    else this.#giveUp()
  }

  #send(request: ClientRequest, onReply: (reply: ClientReply) => void): void {
    const world = this.#world
    const up = world.upNodes()
    const [chosen, hintDraw, lossDraw] = [
      this.#random.below(Math.max(1, up.length)),
      this.#random.next(),
      this.#random.next(),
    ]
    const hinted = hintDraw < 0.6 ? world.nodes.get(this.#leaderHint) : undefined
    const node = hinted?.isUp === true ? hinted : up[chosen]
    if (node === undefined) return
    const isLossy = world.profile.enabled.has('drop') && !world.isHealed
    const isLost = isLossy && lossDraw < world.profile.dropRate
    const delayMs = exponentialMs(this.#random, 2)
    if (world.isTracing) world.trace(`client ${this.#identity} ${describeRequest(request)} to ${node.id}`)
    world.scheduleOn(node, delayMs, () => {
      world.note(6, node.id, request.kind === 'read' ? 1 : 2)
      node.onClientRequest(request, reply => {
        if (world.isTracing) world.trace(`client ${this.#identity} is told ${JSON.stringify(reply)}`)
        if (!isLost) world.schedule(delayMs, () => onReply(reply))
      })
    })
  }

  #onReply(reply: ClientReply, at: { readonly turn: number; readonly attempt: number }): void {
    const running = this.#running
    if (running === undefined) return
    if (reply.kind === 'failed') {
      this.#leaderHint = reply.leader
      this.#world.schedule(exponentialMs(this.#random, RETRY_MS), () => {
        if (at.turn === this.#turn && running.attempts === at.attempt) this.#retry(at.turn)
      })
      return
    }
    if (reply.kind === 'value') {
      const version = reply.entry?.version ?? 0
      this.#versionByKey.set(running.key, version)
      this.#finish({ kind: 'read', version })
      return
    }
    const { result } = reply
    const { write } = running
    if (write === undefined) return
    if (result.kind === 'written') {
      this.#world.oracle.onAcknowledged(nameOf(write.session, write.sequence, write.value), result.version)
      this.#versionByKey.set(running.key, write.value === undefined ? 0 : result.version)
      const version = write.value === undefined ? 0 : result.version
      this.#finish({ kind: 'write', expected: write.expected, version })
    } else if (result.kind === 'conflict') {
      const current = result.current?.version ?? 0
      this.#versionByKey.set(running.key, current)
      const isFirst = at.attempt === 1 && running.attempts === 1
      this.#finish({ kind: 'conflict', expected: write.expected ?? 0, current: isFirst ? current : undefined })
    } else this.#giveUp()
  }

  #finish(action: Operation['action']): void {
    const { key, invoke } = this.#running!
    this.#history.push({ key, client: this.#identity, invoke, return: this.#world.eventCount, action })
    this.#end()
  }

  /** Nobody will ever tell what became of it: it may have happened at any time since. */
  #giveUp(): void {
    const { key, invoke, write } = this.#running!
    if (write !== undefined) {
      this.#unknown.push({ key, invoke, write, client: this.#identity })
      this.#identity += 1000
      this.#session = 0
    }
    this.#end()
  }

  readonly #unknown: { key: string; invoke: number; write: WriteCommand; client: number }[] = []

  /** Operations whose end the client never learnt but that did take effect, as the oracle knows. */
  unknownOperations(): readonly KeyedOperation[] {
    return this.#unknown.flatMap(({ key, invoke, write, client }) => {
      const effect = this.#world.oracle.effectOf(nameOf(write.session, write.sequence, write.value))
      if (effect === undefined) return []
      const version = write.value === undefined ? 0 : effect.version
      const action = { kind: 'write', expected: write.expected, version } as const
      return [{ key, client, invoke, return: Number.POSITIVE_INFINITY, action }]
    })
  }

  #end(): void {
    this.#running = undefined
    this.#turn++
    this.#think()
  }
}

function describeRequest(request: ClientRequest): string {
  return request.kind === 'read' ? `reads ${request.key}` : `asks for ${JSON.stringify(decodeCommand(request.data))}`
}
