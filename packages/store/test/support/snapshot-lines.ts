import { crc32c } from '../../src/journal/crc32c.ts'

/** Lines of JSON with the checksum that a snapshot file has, whatever they say. */
export function encode(lines: readonly unknown[]): Buffer {
  const body = Buffer.from(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  const checksum = crc32c(body).toString(16).padStart(8, '0')
  return Buffer.concat([body, Buffer.from(`{"crc32c":"${checksum}"}\n`)])
}
