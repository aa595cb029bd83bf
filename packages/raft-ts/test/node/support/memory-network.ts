import type { Message, MsgSnap, NodeId, SnapshotChunk } from '../../../src/index.ts'
import {
  decodeMessages,
  encodeMessages,
  groupByReceiver,
  type Transport,
  type TransportHandler,
} from '../../../src/node/index.ts'

/** Connects nodes of one process. Everything passes through the wire format; nothing waits for a clock. */
export class MemoryNetwork {
  readonly #handlers = new Map<NodeId, TransportHandler>()
  /** Pairs that do not hear each other, as `from>to`. */
  readonly #cut = new Set<string>()
  /** Batches and snapshots that have not arrived. */
  inFlight = 0
  snapshotsSent = 0
  /** Told of everything that leaves a node. */
  onSent: (message: Message) => void = () => undefined

  /** The end of one node. A node that starts again gets a new one, and the old one is dead. */
  transport(id: NodeId): Transport {
    let handler: TransportHandler | undefined
    const isCurrent = (): boolean => handler !== undefined && this.#handlers.get(id) === handler
    return {
      start: async given => {
        handler = given
        this.#handlers.set(id, given)
      },
      send: messages => {
        if (!isCurrent()) return
        for (const message of messages) this.onSent(message)
        for (const [to, group] of groupByReceiver(messages)) this.#deliver(id, to, group)
      },
      sendSnapshot: async (message, chunks) => {
        this.onSent(message)
        if (isCurrent()) await this.#deliverSnapshot(id, message, chunks)
      },
      stop: async () => {
        if (isCurrent()) this.#handlers.delete(id)
      },
    }
  }

  /** Cuts a node off, both ways. */
  isolate(id: NodeId, others: readonly NodeId[]): void {
    for (const other of others) {
      this.#cut.add(`${id}>${other}`)
      this.#cut.add(`${other}>${id}`)
    }
  }

  heal(): void {
    this.#cut.clear()
  }

  /** The process of this node is gone. */
  drop(id: NodeId): void {
    this.#handlers.delete(id)
  }

  /** And its host says so to those who knock. */
  tellGone(id: NodeId): void {
    for (const [other, handler] of this.#handlers) if (!this.#cut.has(`${other}>${id}`)) handler.onGone(id)
  }

  #deliver(from: NodeId, to: NodeId, messages: readonly Message[]): void {
    const bytes = encodeMessages(messages)
    this.inFlight++
    setImmediate(() => {
      this.inFlight--
      const receiver = this.#handlers.get(to)
      if (receiver !== undefined && !this.#cut.has(`${from}>${to}`)) receiver.onMessages(decodeMessages(bytes))
      else this.#handlers.get(from)?.onUnreachable(to)
    })
  }

  async #deliverSnapshot(from: NodeId, message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>): Promise<void> {
    this.inFlight++
    this.snapshotsSent++
    const transfer = { isOver: false }
    try {
      await new Promise<void>(resolve => setImmediate(resolve))
      const receiver = this.#handlers.get(message.to)
      if (receiver === undefined || this.#cut.has(`${from}>${message.to}`)) throw new Error('unreachable')
      const taken = receiver.onSnapshot(decodeMessages(encodeMessages([message]))[0] as MsgSnap, chunks)
      // A receiver that dies meanwhile answers nothing.
      await Promise.race([taken, this.#gone(message.to, receiver, transfer)])
    } finally {
      transfer.isOver = true
      this.inFlight--
    }
  }

  async #gone(id: NodeId, handler: TransportHandler, transfer: { readonly isOver: boolean }): Promise<void> {
    while (this.#handlers.get(id) === handler && !transfer.isOver)
      await new Promise<void>(resolve => setImmediate(resolve))
    throw new Error('the receiver is gone')
  }
}
