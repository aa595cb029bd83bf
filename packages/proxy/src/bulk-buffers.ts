const BUFFER_BYTES = 128 * 1024
/** 8 MiB: as many streams as one core keeps busy. */
const SPARES_MAX = 64

/**
 * Memory for long bodies. A fresh buffer costs the kernel 32 page faults and the collector a cycle every few hundred,
 * so that buffers go round.
 */
export class BulkBuffers {
  readonly #spares: Buffer[] = []

  take(): Buffer {
    return this.#spares.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES)
  }

  /** Nobody reads or writes it any more. */
  giveBack(buffer: Buffer): void {
    if (this.#spares.length < SPARES_MAX) this.#spares.push(buffer)
  }
}
