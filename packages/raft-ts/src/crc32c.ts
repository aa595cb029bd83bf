const POLYNOMIAL = 0x82f63b78

const TABLE: Uint32Array = new Uint32Array(256).map((_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1
  return value
})

/**
 * CRC-32C (Castagnoli), the checksum of iSCSI and ext4: what tells a torn or rotten record from a whole one.
 *
 * @param start the checksum of what came before, to go on with; 0 at the beginning
 */
export function crc32c(bytes: Uint8Array, start: number = 0): number {
  let crc = ~start
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}
