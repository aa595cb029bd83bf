const LINE_FEED = 0x0a

/** The last lines of a text as bytes; what follows the last line feed is a line as well. */
export function lastLines(bytes: Uint8Array, count: number): Uint8Array {
  if (count === 0) return bytes.subarray(bytes.length)
  let left = count
  for (let at = bytes.length - 2; at >= 0; at--) {
    if (bytes[at] === LINE_FEED && --left === 0) return bytes.subarray(at + 1)
  }
  return bytes
}
