import {
  type ClientDuplexStream,
  credentials,
  Client as GrpcClient,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import {
  ByteReader,
  ByteWriter,
  type Message,
  type MsgSnap,
  type NodeId,
  type SnapshotChunk,
} from '../../packages/raft-ts/src/index.ts'
import {
  decodeMessages,
  encodeMessages,
  groupByReceiver,
  type PeerAddress,
  RaftNodeError,
  type Transport,
  type TransportHandler,
} from '../../packages/raft-ts/src/node/index.ts'

/** What a gRPC transport needs. */
export interface GrpcTransportOptions {
  readonly id: NodeId
  readonly group: string
  readonly listen: PeerAddress
  readonly peers?: ReadonlyMap<NodeId, PeerAddress>
  /** What waits for one peer; more is dropped and reported. */
  readonly maxQueuedBytes?: number
}

const MESSAGES = '/raft.v1.Raft/Messages'
const SNAPSHOT = '/raft.v1.Raft/Snapshot'
const MAX_QUEUED_BYTES = 32 * 1024 * 1024
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024
/** Shorter than an election; grpc-js itself would wait a second and more. */
const RECONNECT_MS = 50

const asIs = (bytes: Buffer): Buffer => bytes
const method = (path: string, responseStream: boolean) => ({
  path,
  requestStream: true,
  responseStream,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
})

const CHANNEL = {
  'grpc.initial_reconnect_backoff_ms': RECONNECT_MS,
  'grpc.min_reconnect_backoff_ms': RECONNECT_MS,
  'grpc.max_reconnect_backoff_ms': 4 * RECONNECT_MS,
  'grpc.keepalive_time_ms': 2000,
  'grpc.keepalive_timeout_ms': 2000,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // One connection for each transport, not one for each process.
  'grpc.use_local_subchannel_pool': 1,
}

/**
 * raft-ts over gRPC: one ordered stream to each peer for messages, one call for each snapshot. Bytes are the core's own
 * encoding, so there is nothing to generate.
 */
export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions
  readonly #addresses: Map<NodeId, PeerAddress>
  readonly #peers = new Map<NodeId, GrpcPeer>()
  readonly #server: Server
  #handler: TransportHandler | undefined
  #port = 0
  #isStopped = false

  constructor(options: GrpcTransportOptions) {
    this.#options = options
    this.#addresses = new Map(options.peers)
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    })
    this.#server.addService(
      { messages: method(MESSAGES, true), snapshot: method(SNAPSHOT, false) },
      {
        messages: (call: ServerDuplexStream<Buffer, Buffer>) => this.#receiveMessages(call),
        snapshot: (call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>) =>
          this.#receiveSnapshot(call, answer),
      },
    )
  }

  get port(): number {
    return this.#port
  }

  setPeer(id: NodeId, address: PeerAddress): void {
    this.#addresses.set(id, address)
    this.#peers.get(id)?.end()
    this.#peers.delete(id)
  }

  async listen(): Promise<void> {
    if (this.#port !== 0) return
    const { host, port } = this.#options.listen
    this.#port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    )
  }

  async start(handler: TransportHandler): Promise<void> {
    this.#handler = handler
    await this.listen()
  }

  send(messages: readonly Message[]): void {
    if (this.#isStopped) return
    for (const [to, group] of groupByReceiver(messages)) {
      if (this.#peer(to)?.send(encodeMessages(group)) !== true) this.#handler?.onUnreachable(to)
    }
  }

  async sendSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>, signal: AbortSignal): Promise<void> {
    const peer = this.#peer(message.to)
    if (peer === undefined) throw snapshotFailed('no address is known')
    signal.throwIfAborted()
    await peer.sendSnapshot(message, chunks, signal)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const peer of this.#peers.values()) peer.end()
    this.#server.forceShutdown()
  }

  #peer(id: NodeId): GrpcPeer | undefined {
    const known = this.#peers.get(id)
    const address = this.#addresses.get(id)
    if (known !== undefined || address === undefined || this.#isStopped) return known
    const metadata = new Metadata()
    metadata.set('raft-group', this.#options.group)
    metadata.set('raft-to', String(id))
    const { maxQueuedBytes = MAX_QUEUED_BYTES } = this.#options
    const peer = new GrpcPeer({ address, metadata, maxQueuedBytes, onLost: () => this.#handler?.onUnreachable(id) })
    this.#peers.set(id, peer)
    return peer
  }

  #isWelcome(metadata: Metadata): boolean {
    const { group, id } = this.#options
    const isForThisNode = metadata.get('raft-group')[0] === group && metadata.get('raft-to')[0] === String(id)
    return isForThisNode && this.#handler !== undefined && !this.#isStopped
  }

  #receiveMessages(call: ServerDuplexStream<Buffer, Buffer>): void {
    const refuse = (details: string): void => {
      call.emit('error', { code: status.FAILED_PRECONDITION, details })
    }
    if (!this.#isWelcome(call.metadata)) {
      refuse('another group or node lives here')
      return
    }
    call.on('data', (bytes: Buffer) => {
      if (this.#isStopped) return
      try {
        this.#handler?.onMessages(decodeMessages(bytes).filter(({ to }) => to === this.#options.id))
      } catch {
        refuse('these are no raft-ts messages')
      }
    })
    call.on('end', () => call.end())
    call.on('error', () => undefined)
  }

  #receiveSnapshot(call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>): void {
    const refuse = (details: string): void => answer({ code: status.FAILED_PRECONDITION, details })
    if (!this.#isWelcome(call.metadata)) {
      refuse('another group or node lives here')
      return
    }
    const pieces = call[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    const take = async (): Promise<void> => {
      const head = await pieces.next()
      const [message] = head.done === true ? [] : decodeMessages(head.value)
      if (message?.type !== 'MsgSnap') throw snapshotFailed('it had no head')
      await this.#handler?.onSnapshot(message, { [Symbol.asyncIterator]: () => decoded(pieces) })
    }
    take().then(
      () => answer(null, Buffer.alloc(0)),
      error => refuse(error instanceof Error ? error.message : String(error)),
    )
  }
}

interface GrpcPeerOptions {
  readonly address: PeerAddress
  readonly metadata: Metadata
  readonly maxQueuedBytes: number
  readonly onLost: () => void
}

class GrpcPeer {
  readonly #options: GrpcPeerOptions
  readonly #client: GrpcClient
  #stream: ClientDuplexStream<Buffer, Buffer> | undefined
  #queuedBytes = 0
  #retryAtMs = 0
  #isEnded = false

  constructor(options: GrpcPeerOptions) {
    this.#options = options
    const { host, port } = options.address
    this.#client = new GrpcClient(`${host}:${port}`, credentials.createInsecure(), CHANNEL)
  }

  send(payload: Uint8Array): boolean {
    const stream = this.#connected()
    if (stream === undefined || this.#queuedBytes > this.#options.maxQueuedBytes) return false
    this.#queuedBytes += payload.length
    stream.write(Buffer.from(payload.buffer, payload.byteOffset, payload.length), () => {
      if (this.#stream === stream) this.#queuedBytes -= payload.length
    })
    return true
  }

  async sendSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const { metadata } = this.#options
    const call = this.#client.makeClientStreamRequest(SNAPSHOT, asIs, asIs, metadata, {}, error =>
      error === null ? resolve() : reject(snapshotFailed(error.details)),
    )
    const onAbort = (): void => call.cancel()
    signal.addEventListener('abort', onAbort, { once: true })
    const write = (bytes: Uint8Array): Promise<void> =>
      new Promise((written, failed) =>
        call.write(Buffer.from(bytes), (error?: Error | null) => (error ? failed(error) : written())),
      )
    const sendAll = async (): Promise<void> => {
      await write(encodeMessages([message]))
      for await (const chunk of chunks) {
        if (signal.aborted) return
        await write(encodePiece(chunk))
      }
      call.end()
    }
    try {
      await Promise.race([promise, sendAll().catch(reject)])
      await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  end(): void {
    this.#isEnded = true
    this.#stream?.cancel()
    this.#client.close()
  }

  #connected(): ClientDuplexStream<Buffer, Buffer> | undefined {
    if (this.#stream !== undefined) return this.#stream
    if (this.#isEnded || performance.now() < this.#retryAtMs) return undefined
    const stream = this.#client.makeBidiStreamRequest(MESSAGES, asIs, asIs, this.#options.metadata, {})
    this.#stream = stream
    this.#queuedBytes = 0
    const lose = (): void => {
      if (this.#stream !== stream) return
      this.#stream = undefined
      this.#retryAtMs = performance.now() + RECONNECT_MS
      if (!this.#isEnded) this.#options.onLost()
    }
    stream.on('error', lose)
    stream.on('end', lose)
    stream.resume()
    return stream
  }
}

function encodePiece({ offset, bytes, crc32c, totalBytes }: SnapshotChunk): Uint8Array {
  const writer = new ByteWriter(bytes.length + 64)
  return writer.varint(offset).varint(crc32c).varint(totalBytes).bytes(bytes).finish()
}

async function* decoded(pieces: AsyncIterator<Buffer>): AsyncGenerator<SnapshotChunk> {
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
    const reader = new ByteReader(next.value)
    const [offset, crc32c, totalBytes] = [reader.varint(), reader.varint(), reader.varint()]
    yield { offset, crc32c, totalBytes, bytes: reader.bytes() }
  }
}

function snapshotFailed(why: string): RaftNodeError {
  return new RaftNodeError(`The snapshot was not taken: ${why}`, { code: 'RAFT_SNAPSHOT_FAILED' })
}
