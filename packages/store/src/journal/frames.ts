import { crc32c } from './crc32c.ts'

/*
 * A journal is a file head and then frames. One frame is what was made durable by one sync, so at most the last frame
 * can be torn: the next is only begun when the one before is safe.
 *
 *   file head   magic 8, salt 16, crc32c(magic, salt) 4
 *   frame       magic 4, body's length 4, crc32c(salt, body) 4, crc32c(salt, the 12 bytes before) 4, body
 *
 * The salt is random for each file. Nobody who chooses values can make bytes that look like a frame, and neither can
 * what an earlier file left behind on the disk.
 */

const FILE_MAGIC = Buffer.from('WTRJRNL1')
const FRAME_MAGIC = Buffer.from([0xf7, 0x57, 0x54, 0x01])
const FRAME_HEAD_BYTES = 16

/** Random bytes in a file's head. */
export const SALT_BYTES = 16

/** Length of a file's head. */
export const FILE_HEAD_BYTES: number = FILE_MAGIC.length + SALT_BYTES + 4

/** The head of a new file. */
export function encodeFileHead(salt: Uint8Array): Buffer {
  const start = Buffer.concat([FILE_MAGIC, salt])
  const crc = Buffer.alloc(4)
  crc.writeUInt32LE(crc32c(start))
  return Buffer.concat([start, crc])
}

/** The salt of a file; undefined when its head is not one. */
export function decodeFileHead(file: Buffer): Buffer | undefined {
  if (file.length < FILE_HEAD_BYTES || !file.subarray(0, FILE_MAGIC.length).equals(FILE_MAGIC)) return undefined
  const start = file.subarray(0, FILE_HEAD_BYTES - 4)
  return crc32c(start) === file.readUInt32LE(FILE_HEAD_BYTES - 4) ? start.subarray(FILE_MAGIC.length) : undefined
}

/** One frame around `body`. */
export function encodeFrame(salt: Uint8Array, body: Buffer): Buffer {
  const saltCrc = crc32c(salt)
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + body.length)
  FRAME_MAGIC.copy(frame)
  frame.writeUInt32LE(body.length, 4)
  frame.writeUInt32LE(crc32c(body, saltCrc), 8)
  frame.writeUInt32LE(crc32c(frame.subarray(0, 12), saltCrc), 12)
  body.copy(frame, FRAME_HEAD_BYTES)
  return frame
}

/** What a file holds. */
export interface FrameScan {
  readonly bodies: readonly Buffer[]
  /** Everything before this offset is sound. */
  readonly soundBytes: number
  /**
   * What follows: nothing; a `torn` last frame, which nobody was promised; or a `damaged` frame that was durable once,
   * since another was begun after it.
   */
  readonly tail: 'clean' | 'torn' | 'damaged'
}

/** Reads all frames of a file whose head is sound. */
export function scanFrames(file: Buffer, salt: Uint8Array): FrameScan {
  const saltCrc = crc32c(salt)
  const bodies: Buffer[] = []
  let at = FILE_HEAD_BYTES
  while (at < file.length) {
    const bodyBytes = readFrameHead(file, at, saltCrc)
    if (bodyBytes === undefined) {
      return { bodies, soundBytes: at, tail: hasFrameAfter(file, at, saltCrc) ? 'damaged' : 'torn' }
    }
    const end = at + FRAME_HEAD_BYTES + bodyBytes
    const body = file.subarray(at + FRAME_HEAD_BYTES, end)
    if (end > file.length || crc32c(body, saltCrc) !== file.readUInt32LE(at + 8)) {
      return { bodies, soundBytes: at, tail: end < file.length ? 'damaged' : 'torn' }
    }
    bodies.push(body)
    at = end
  }
  return { bodies, soundBytes: at, tail: 'clean' }
}

/** The body's length; undefined when there is no sound frame head at `at`. */
function readFrameHead(file: Buffer, at: number, saltCrc: number): number | undefined {
  if (file.length - at < FRAME_HEAD_BYTES || file.compare(FRAME_MAGIC, 0, 4, at, at + 4) !== 0) return undefined
  const isSound = crc32c(file.subarray(at, at + 12), saltCrc) === file.readUInt32LE(at + 12)
  return isSound ? file.readUInt32LE(at + 4) : undefined
}

function hasFrameAfter(file: Buffer, brokenAt: number, saltCrc: number): boolean {
  for (let at = file.indexOf(FRAME_MAGIC, brokenAt + 1); at >= 0; at = file.indexOf(FRAME_MAGIC, at + 1)) {
    if (readFrameHead(file, at, saltCrc) !== undefined) return true
  }
  return false
}
