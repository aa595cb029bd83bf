import type { Message, MsgSnap, NodeId, SnapshotChunk } from '../index.ts'

/**
 * How messages get to other nodes. Messages may be lost, never altered, and never overtake each other between two
 * nodes; `createTransportContract` in the tests says it in detail. A transport never blocks and never grows: what does
 * not fit its bounded queue is dropped and reported.
 */
export interface Transport {
  /** Begins to receive. Called once, before anything is sent. */
  start(handler: TransportHandler): Promise<void>
  /** Sends in order, to whomever each message names. Never throws for a peer's sake. */
  send(messages: readonly Message[]): void
  /**
   * Sends a snapshot on a stream of its own, so that it does not hold up heartbeats. Resolves when the receiver has
   * taken all of it; rejects when it did not, or when `signal` is aborted.
   */
  sendSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>, signal: AbortSignal): Promise<void>
  /** Ends all connections. Nothing is delivered afterwards. */
  stop(): Promise<void>
}

/** Who is told what arrives. */
export interface TransportHandler {
  onMessages(messages: readonly Message[]): void
  /** Something sent to this peer was lost for certain. May be told many times. */
  onUnreachable(peer: NodeId): void
  /**
   * The peer's process is gone for certain: it lost its connections, and its host, which is there, says that nobody listens.
   * A peer that is merely silent, or whose connections break, is not gone.
   */
  onGone(peer: NodeId): void
  /** Resolves when the snapshot has been taken; rejects when it is not wanted or damaged. */
  onSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>): Promise<void>
}
