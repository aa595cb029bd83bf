const POLYNOMIAL = 0x82f63b78
const SLICES = 8

// TABLES[s][b]: what byte b contributes when s more bytes follow it.
const TABLES: readonly Int32Array[] = buildTables()

/**
 * CRC-32C, eight bytes at a time: the same value as the core's `crc32c`, several times as fast. A log is read at the
 * speed of its checksum.
 *
 * @param start the checksum of what came before, to go on with; 0 at the beginning
 */
export function checksum(bytes: Uint8Array, start: number = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as unknown as readonly [
    ...[Int32Array, Int32Array, Int32Array, Int32Array],
    ...[Int32Array, Int32Array, Int32Array, Int32Array],
  ]
  const end = bytes.length
  let crc = ~start
  let at = 0
  for (const last = end - SLICES; at <= last; at += SLICES) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!
  }
  for (; at < end; at++) crc = t0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

function buildTables(): Int32Array[] {
  const first = new Int32Array(256).map((_, index) => {
    let value = index
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1
    return value
  })
  const tables = [first]
  for (let slice = 1; slice < SLICES; slice++) {
    const previous = tables[slice - 1]!
    tables.push(previous.map(value => first[value & 0xff]! ^ (value >>> 8)))
  }
  return tables
}
