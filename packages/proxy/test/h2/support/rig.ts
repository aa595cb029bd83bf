import {
  type HeaderField,
  Http2Connection,
  type Http2ConnectionEnd,
  type Http2ConnectionOptions,
  type Http2Io,
  type Http2Limits,
  type Http2ResponseHead,
  type Http2Stream,
  type Http2StreamHandler,
  type StreamReset,
  TurnScheduler,
} from '../../../src/h2/index.ts'
import { TimerWheel, WheelTimer } from '../../../src/timer-wheel.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { Flag, type Frame, FrameType, frame, PREFACE, pairsOf, parseFrames, settings } from './wire.ts'

/** A transport in memory: the kernel takes everything, or nothing until told. */
export class MemoryIo implements Http2Io {
  isStuck = false
  hasEnded = false
  isDestroyed = false
  writeCalls = 0
  #written: Buffer[] = []
  #pending: Buffer[] = []

  get writableLength(): number {
    return this.#pending.reduce((sum, chunk) => sum + chunk.length, 0)
  }

  write(chunks: readonly Buffer[]): boolean {
    this.writeCalls += 1
    const target = this.isStuck ? this.#pending : this.#written
    for (const chunk of chunks) target.push(Buffer.from(chunk))
    return !this.isStuck
  }

  endWriting(): void {
    this.hasEnded = true
  }

  destroy(): void {
    this.isDestroyed = true
  }

  /** Takes what was stuck. */
  unstick(): void {
    this.isStuck = false
    this.#written.push(...this.#pending)
    this.#pending = []
  }

  take(): Buffer {
    const bytes = Buffer.concat(this.#written)
    this.#written = []
    return bytes
  }
}

/** What a handler heard, in words. */
export class Recorder implements Http2StreamHandler {
  readonly events: string[] = []
  readonly chunks: Buffer[] = []
  readonly heads: Http2ResponseHead[] = []
  lastReset: StreamReset | null = null
  onDrained: (() => void) | null = null

  get body(): Buffer {
    return Buffer.concat(this.chunks)
  }

  onHead(head: Http2ResponseHead): void {
    this.heads.push(head)
    this.events.push(`head ${head.status}`)
  }

  onInterim(head: Http2ResponseHead): void {
    this.events.push(`interim ${head.status}`)
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.chunks.push(Buffer.from(bytes.subarray(start, end)))
    if (this.events.at(-1) !== 'data') this.events.push('data')
  }

  onTrailers(fields: readonly HeaderField[]): void {
    this.events.push(`trailers ${JSON.stringify(pairsOf(fields))}`)
  }

  onEnd(): void {
    this.events.push('end')
  }

  onReset(reset: StreamReset): void {
    this.lastReset = reset
    this.events.push(`reset ${reset.cause} ${reset.code}`)
  }

  onDrain(): void {
    this.events.push('drain')
    this.onDrained?.()
  }
}

/** One engine, its transport, its time and what its owner was told. */
export class Rig {
  readonly clock: FakeClock = new FakeClock()
  readonly io: MemoryIo = new MemoryIo()
  readonly connection: Http2Connection
  readonly requests: Http2Stream[] = []
  readonly recorders: Recorder[] = []
  readonly refusals: string[] = []
  readonly ends: Http2ConnectionEnd[] = []
  /** Runs inside `onRequest`; may name a listener of its own. */
  onRequest: ((stream: Http2Stream) => Recorder | undefined) | null = null
  readonly #deferred: (() => void)[] = []

  constructor(
    role: 'server' | 'client',
    options: { limits?: Partial<Http2Limits>; allowsConnectProtocol?: boolean } = {},
  ) {
    const wheel = new TimerWheel(this.clock)
    const full: Http2ConnectionOptions = {
      role,
      io: this.io,
      clock: { nowMs: () => this.clock.nowMs(), createTimer: onTimeout => new WheelTimer(wheel, onTimeout) },
      scheduler: new TurnScheduler(run => void this.#deferred.push(run)),
      owner: {
        onRequest: stream => {
          this.requests.push(stream)
          const recorder = this.onRequest?.(stream) ?? new Recorder()
          this.recorders.push(recorder)
          return recorder
        },
        onRefused: (status, detail) => this.refusals.push(`${status} ${detail}`),
        onCapacity: () => {},
        onClosed: end => this.ends.push(end),
      },
      ...options,
    }
    this.connection = new Http2Connection(full)
    this.connection.start()
  }

  /** Ends the turn: what was written leaves. */
  turn(): void {
    while (this.#deferred.length > 0) for (const run of this.#deferred.splice(0)) run()
  }

  /** The peer's bytes, in one piece. */
  push(...pieces: Buffer[]): void {
    const bytes = Buffer.concat(pieces)
    this.connection.receive(bytes, 0, bytes.length)
  }

  /** Everything the engine wrote since the last call. */
  frames(): Frame[] {
    this.turn()
    return parseFrames(this.io.take())
  }

  /** The peer's half of the handshake; what the engine says meanwhile is dropped. */
  shakeHands(...pairs: (readonly [id: number, value: number])[]): void {
    if (this.connection.role === 'server') this.push(PREFACE)
    this.push(settings(...pairs), frame(FrameType.SETTINGS, Flag.ACK, 0))
    this.frames()
  }
}

/** A rig whose handshake is done. */
export function readyRig(
  role: 'server' | 'client',
  options: { limits?: Partial<Http2Limits>; allowsConnectProtocol?: boolean } = {},
): Rig {
  const rig = new Rig(role, options)
  rig.shakeHands()
  return rig
}
