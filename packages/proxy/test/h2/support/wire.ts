import { Flag, FRAME_HEADER_BYTES, FrameType, PREFACE } from '../../../src/h2/frames/frame-type.ts'
import { HeaderField } from '../../../src/h2/header-field.ts'
import { HpackDecoder } from '../../../src/h2/hpack/decoder.ts'
import { HpackEncoder } from '../../../src/h2/hpack/encoder.ts'

export { Flag, FrameType, PREFACE }

/** A frame as written by a test or read from an engine. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

export function frame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  header.writeUIntBE(payload.length, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(streamId, 5)
  return Buffer.concat([header, payload])
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4)
  return bytes
}

export function settings(...pairs: (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(pairs.length * 6)
  for (const [index, [id, value]] of pairs.entries()) {
    payload.writeUInt16BE(id, index * 6)
    payload.writeUInt32BE(value, index * 6 + 2)
  }
  return frame(FrameType.SETTINGS, 0, 0, payload)
}

/** Fields from a flat list of names and values. */
export function fieldsOf(...flat: string[]): HeaderField[] {
  const fields: HeaderField[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) fields.push(new HeaderField(flat[i]!, flat[i + 1]!))
  return fields
}

/** Names and values in order. */
export function pairsOf(fields: readonly HeaderField[]): [string, string][] {
  return fields.map(field => [field.name, field.value])
}

/** A field block of literals that touches no table: what a test means is what arrives. */
export function block(...flat: string[]): Buffer {
  const parts: Buffer[] = []
  for (let i = 0; i + 1 < flat.length; i += 2) {
    parts.push(Buffer.from([0]), literal(flat[i]!), literal(flat[i + 1]!))
  }
  return Buffer.concat(parts)
}

function literal(text: string): Buffer {
  if (text.length < 127) return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')])
  const prefix: number[] = [127]
  let rest = text.length - 127
  for (; rest >= 128; rest >>>= 7) prefix.push((rest & 127) | 128)
  return Buffer.concat([Buffer.from([...prefix, rest]), Buffer.from(text, 'latin1')])
}

export const GET: readonly string[] = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a.example']
export const POST: readonly string[] = [':method', 'POST', ':scheme', 'http', ':path', '/', ':authority', 'a.example']

export function headers(streamId: number, flat: readonly string[], flags: number = Flag.END_STREAM): Buffer {
  return frame(FrameType.HEADERS, flags | Flag.END_HEADERS, streamId, block(...flat))
}

export function data(streamId: number, payload: string | Buffer, flags = 0): Buffer {
  return frame(FrameType.DATA, flags, streamId, Buffer.from(payload as string))
}

/** Cuts written bytes into frames; a leading preface is skipped. */
export function parseFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = []
  let at = bytes.subarray(0, PREFACE.length).equals(PREFACE) ? PREFACE.length : 0
  while (at + FRAME_HEADER_BYTES <= bytes.length) {
    const length = bytes.readUIntBE(at, 3)
    const end = at + FRAME_HEADER_BYTES + length
    if (end > bytes.length) throw new Error('truncated frame written')
    frames.push({
      type: bytes[at + 3]!,
      flags: bytes[at + 4]!,
      streamId: bytes.readUInt32BE(at + 5),
      payload: Buffer.from(bytes.subarray(at + FRAME_HEADER_BYTES, end)),
    })
    at = end
  }
  if (at !== bytes.length) throw new Error('trailing bytes written')
  return frames
}

export function newDecoder(
  options: { tableBytes?: number; listBytesMax?: number; fieldsMax?: number } = {},
): HpackDecoder {
  return new HpackDecoder({ tableBytes: 4096, listBytesMax: 65_536, fieldsMax: 1000, ...options })
}

export function encodeBlock(encoder: HpackEncoder, fields: readonly HeaderField[]): Buffer {
  const out = Buffer.alloc(HpackEncoder.boundOf(fields))
  return out.subarray(0, encoder.encode(fields, out, 0))
}
