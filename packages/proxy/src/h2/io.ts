/** The transport below a connection: a socket, or what a test puts in its place. */
export interface Http2Io {
  /**
   * Sends `chunks` in order, in one system call where possible. True when the kernel has taken all of it, so that the
   * memory may be used again at once. Else it belongs to the write, until `onTaken` is called or, if the transport
   * cannot tell, for good.
   */
  write(chunks: readonly Buffer[], onTaken: () => void): boolean
  /** Octets given to `write` and not yet taken by the kernel. */
  readonly writableLength: number
  /** FIN behind what was written. */
  endWriting(): void
  /** Closes at once; nothing is reported back. */
  destroy(): void
}

/** A coarse timer; `WheelTimer` is one. */
export interface Http2Timer {
  arm(delayMs: number): void
  disarm(): void
  release(): void
}

/** Where a connection gets time from. */
export interface Http2Clock {
  nowMs(): number
  createTimer(onTimeout: () => void): Http2Timer
}
