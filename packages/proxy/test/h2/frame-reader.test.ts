import fc from 'fast-check'
import t from 'tap'
import { type FrameHandler, FrameReader } from '../../src/h2/frames/frame-reader.ts'
import type { FrameFault, FrameHeader } from '../../src/h2/frames/frame-rules.ts'
import { Flag, FrameType, frame, PREFACE } from './support/wire.ts'

/** Puts together again what the reader tells, so that segmentation must not show. */
class Collector implements FrameHandler {
  readonly frames: string[] = []
  readonly faults: string[] = []
  #data: Buffer[] = []

  onFrameHeader(header: FrameHeader): boolean {
    this.#data = []
    return header.type !== 0xee
  }

  onFrame(header: FrameHeader, bytes: Buffer, start: number, end: number): void {
    this.#add(header, bytes.subarray(start, end))
  }

  onDataBytes(bytes: Buffer, start: number, end: number): void {
    this.#data.push(Buffer.from(bytes.subarray(start, end)))
  }

  onDataEnd(header: FrameHeader): void {
    this.#add(header, Buffer.concat(this.#data))
  }

  onFault(fault: FrameFault, streamId: number): void {
    this.faults.push(`${fault.scope} ${fault.code} ${streamId} ${fault.detail}`)
  }

  #add(header: FrameHeader, payload: Buffer): void {
    this.frames.push(`${header.type} ${header.flags} ${header.streamId} ${payload.toString('hex')}`)
  }
}

function read(bytes: Buffer, cuts: readonly number[], expectsPreface = false): Collector {
  const collector = new Collector()
  const reader = new FrameReader(collector, { frameBytesMax: 16_384, expectsPreface })
  const sorted = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  // Each piece comes in the same memory, as from a socket: a range kept past the call would show.
  const shared = Buffer.alloc(bytes.length + 7)
  for (let i = 0; i + 1 < sorted.length; i++) {
    const length = bytes.copy(shared, 7, sorted[i], sorted[i + 1])
    reader.push(shared, 7, 7 + length)
    shared.fill(0xaa)
  }
  return collector
}

const dataFrame = fc
  .tuple(fc.uint8Array({ maxLength: 60 }), fc.option(fc.nat(20)), fc.boolean())
  .map(([octets, padding, isEnd]) => {
    const flags = (isEnd ? Flag.END_STREAM : 0) | (padding === null ? 0 : Flag.PADDED)
    const prefix = padding === null ? Buffer.alloc(0) : Buffer.from([padding])
    const bytes = frame(FrameType.DATA, flags, 1, Buffer.concat([prefix, octets, Buffer.alloc(padding ?? 0)]))
    return { bytes, told: `0 ${flags} 1 ${Buffer.from(octets).toString('hex')}` }
  })
const otherFrame = fc
  .tuple(fc.constantFrom(1, 7, 9, 0x42), fc.uint8Array({ minLength: 8, maxLength: 60 }))
  .map(([type, octets]) => {
    const streamId = type === 7 ? 0 : 3
    return {
      bytes: frame(type, 0, streamId, Buffer.from(octets)),
      told: `${type} 0 ${streamId} ${Buffer.from(octets).toString('hex')}`,
    }
  })
const emptyFrame = fc.constantFrom(
  { bytes: frame(FrameType.SETTINGS, 1, 0), told: '4 1 0 ' },
  { bytes: frame(FrameType.DATA, 1, 5), told: '0 1 5 ' },
  { bytes: frame(FrameType.CONTINUATION, 4, 5), told: '9 4 5 ' },
  { bytes: frame(0x42, 0, 0), told: '66 0 0 ' },
)

t.test('any segmentation of the same bytes tells the same frames', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(dataFrame, otherFrame, emptyFrame), { maxLength: 12 }),
        fc.array(fc.nat(2000), { maxLength: 30 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map(it => it.bytes))
          const collector = read(bytes, cuts)
          return JSON.stringify(collector.frames) === JSON.stringify(frames.map(it => it.told))
        },
      ),
      { seed: 11, numRuns: 2000 },
    ),
  )
})

t.test('byte by byte, behind a preface', async t => {
  const bytes = Buffer.concat([
    PREFACE,
    frame(4, 0, 0),
    frame(0, 0, 1, Buffer.from('abc')),
    frame(6, 0, 0, Buffer.alloc(8)),
  ])
  const collector = read(
    bytes,
    Array.from({ length: bytes.length }, (_, index) => index),
    true,
  )
  t.same(collector.frames, ['4 0 0 ', '0 0 1 616263', '6 0 0 0000000000000000'])
  t.same(collector.faults, [])
})

t.test('a preface with one wrong octet is refused at that octet', async t => {
  for (let at = 0; at < PREFACE.length; at++) {
    const bytes = Buffer.from(PREFACE)
    bytes[at]! ^= 1
    t.same(read(bytes.subarray(0, at + 1), [], true).faults, ['connection 1 0 no HTTP/2 connection preface'])
  }
})

t.test('the reserved bit of a stream id is ignored', async t => {
  const bytes = frame(FrameType.DATA, 0, 0, Buffer.from('x'))
  bytes.writeUInt32BE(0x80000007, 5)
  t.same(read(bytes, []).frames, ['0 0 7 78'])
})

t.test('nothing is read behind a connection fault or a refusal', async t => {
  const bad = read(Buffer.concat([frame(6, 0, 0, Buffer.alloc(7)), frame(4, 0, 0)]), [])
  t.same(bad.faults, ['connection 6 0 PING is not 8 octets long'])
  t.same(bad.frames, [])
  t.same(read(Buffer.concat([frame(0xee, 0, 0), frame(4, 0, 0)]), []).frames, [])
})

t.test('a frame with a stream fault is skipped in any segmentation', async t => {
  const bytes = Buffer.concat([frame(FrameType.PRIORITY, 0, 3, Buffer.alloc(9)), frame(4, 0, 0)])
  for (let cut = 0; cut <= bytes.length; cut++) {
    const collector = read(bytes, [cut])
    t.same(collector.faults, ['stream 6 3 PRIORITY is not 5 octets long'])
    t.same(collector.frames, ['4 0 0 '])
  }
})

t.test('any bytes at all end in frames or one fault, never in an exception', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400), { maxLength: 5 }), (octets, cuts) => {
        const whole = read(Buffer.from(octets), [])
        const cut = read(Buffer.from(octets), cuts)
        return JSON.stringify([whole.frames, whole.faults]) === JSON.stringify([cut.frames, cut.faults])
      }),
      { seed: 12, numRuns: 3000 },
    ),
  )
})
