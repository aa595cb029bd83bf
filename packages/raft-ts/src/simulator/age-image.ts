import { ByteReader, ByteWriter } from '../kv/bytes.ts'

/**
 * An encoded state whose applied index is `lag` entries older than its data: what a crash leaves behind when the two
 * are stored by two writes (the planted bug of rule D6). A lag of 0 changes nothing.
 */
export function ageImage(bytes: Uint8Array, lag: number): Uint8Array {
  if (lag === 0) return bytes
  const reader = new ByteReader(bytes)
  const format = reader.varint()
  const applied = reader.varint()
  const headBytes = new ByteWriter().varint(format).varint(applied).length
  const head = new ByteWriter()
    .varint(format)
    .varint(Math.max(0, applied - lag))
    .finish()
  const aged = new Uint8Array(head.length + bytes.length - headBytes)
  aged.set(head)
  aged.set(bytes.subarray(headBytes), head.length)
  return aged
}
