import { type TimerWheel, WheelTimer } from '../timer-wheel.ts'
import { CloseCode, renderCloseFrame } from './close-frame.ts'
import { FrameTracker } from './frame-tracker.ts'

/** Why we end a WebSocket that both sides would keep. */
export type WebSocketEnd = 'drain' | 'idle' | 'age'

type Write = (bytes: Buffer, start: number, end: number) => void

const REASONS: Readonly<Record<WebSocketEnd, readonly [code: number, reason: string]>> = {
  drain: [CloseCode.GOING_AWAY, 'Going away'],
  idle: [CloseCode.INTERNAL_ERROR, 'Idle timeout'],
  age: [CloseCode.GOING_AWAY, 'Maximum age reached'],
}

/** One direction of a WebSocket: passes bytes on, and can put a close frame between two frames. */
class Direction {
  readonly #write: Write
  readonly #tracker = new FrameTracker()
  /** Waits for the end of the frame under way. */
  #closeFrame: Buffer | null = null
  /** Our close frame has been sent: whatever comes after it goes nowhere. */
  #isCut = false

  constructor(write: Write) {
    this.#write = write
  }

  /** Whoever reads this direction has got a close frame, or is about to. */
  get hasClosed(): boolean {
    return this.#isCut || this.#tracker.hasClosed
  }

  pass(bytes: Buffer, start: number, end: number): void {
    const stop = this.#isCut ? end : this.#tracker.advance(bytes, start, end, this.#closeFrame !== null)
    if (this.#isCut) return
    if (stop > start) this.#write(bytes, start, stop)
    if (this.#closeFrame !== null) this.#cutAtBoundary()
  }

  close(frame: Buffer): void {
    if (this.hasClosed || this.#closeFrame !== null) return
    this.#closeFrame = frame
    this.#cutAtBoundary()
  }

  #cutAtBoundary(): void {
    const frame = this.#closeFrame
    if (frame === null || !this.#tracker.isAtBoundary || this.#tracker.hasClosed) return
    this.#isCut = true
    this.#write(frame, 0, frame.length)
  }
}

export interface WebSocketWatchOptions {
  readonly writeToClient: Write
  readonly writeToBackend: Write
  readonly wheel: TimerWheel
  readonly ageMsMax: number
  readonly onExpired: () => void
}

/**
 * Follows a WebSocket through a tunnel, so that it can be ended as its protocol wants. Frames pass as they are, also
 * their bits, codes and sizes; only a close frame is ever added, and only between two frames.
 *
 * To end it the client is told. Its answer passes to the backend, whose own end then ends the tunnel; what the backend
 * sends meanwhile goes nowhere. A client that does not answer in time leaves it to us to tell the backend.
 */
export class WebSocketWatch {
  readonly #toClient: Direction
  readonly #toBackend: Direction
  readonly #ageTimer: WheelTimer
  #closing: WebSocketEnd | null = null

  constructor(options: WebSocketWatchOptions) {
    this.#toClient = new Direction(options.writeToClient)
    this.#toBackend = new Direction(options.writeToBackend)
    this.#ageTimer = new WheelTimer(options.wheel, options.onExpired)
    this.#ageTimer.arm(options.ageMsMax)
  }

  get closing(): WebSocketEnd | null {
    return this.#closing
  }

  passToClient(bytes: Buffer, start: number, end: number): void {
    this.#toClient.pass(bytes, start, end)
  }

  passToBackend(bytes: Buffer, start: number, end: number): void {
    this.#toBackend.pass(bytes, start, end)
  }

  /** Begins to end it; if its ends are closing it themselves, they finish that. */
  close(end: WebSocketEnd): void {
    if (this.#closing !== null) return
    this.#closing = end
    if (this.#toBackend.hasClosed) return
    const [code, reason] = REASONS[end]
    this.#toClient.close(renderCloseFrame(code, reason, false))
  }

  /** The tunnel ends now: the last moment to tell a backend that has not heard from the client. */
  finish(): void {
    this.#ageTimer.release()
    if (this.#closing === null) return
    const [code, reason] = REASONS[this.#closing]
    this.#toBackend.close(renderCloseFrame(code, reason, true))
  }
}
