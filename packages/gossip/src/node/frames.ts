const HEAD_BYTES = 4

/** Longer frames end the connection. Two full rows fit, in any alphabet. */
export const FRAME_BYTES_MAX = 4_194_304

/** `[length u32][UTF-8 text]`. TLS sees to order and damage. */
export function encodeFrame(text: string): Buffer {
  const bytes = Buffer.byteLength(text)
  const frame = Buffer.allocUnsafe(HEAD_BYTES + bytes)
  frame.writeUInt32BE(bytes, 0)
  frame.write(text, HEAD_BYTES)
  return frame
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #parts: Buffer[] = []
  #bytes = 0
  #needed = HEAD_BYTES

  /** Hands on the frames that are whole now; false: one is too long. */
  push(chunk: Buffer, onFrame: (text: string) => void): boolean {
    this.#parts.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= this.#needed) {
      const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
      const length = all.readUInt32BE(0)
      if (length > FRAME_BYTES_MAX) return false
      const end = HEAD_BYTES + length
      const isWhole = all.length >= end
      this.#parts = [isWhole ? all.subarray(end) : all]
      this.#bytes = this.#parts[0]!.length
      this.#needed = isWhole ? HEAD_BYTES : end
      if (isWhole) onFrame(all.toString('utf8', HEAD_BYTES, end))
    }
    return true
  }
}
