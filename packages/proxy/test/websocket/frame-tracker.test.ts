import fc from 'fast-check'
import t from 'tap'
import { CloseCode, renderCloseFrame } from '../../src/websocket/close-frame.ts'
import { FrameTracker } from '../../src/websocket/frame-tracker.ts'

/** A frame with a payload of zeros; `lengthBytes` may be more than needed. */
function frame(opcode: number, length: number, isMasked = false, lengthBytes?: 0 | 2 | 8): Buffer {
  const extra = lengthBytes ?? (length < 126 ? 0 : length < 65_536 ? 2 : 8)
  const header = Buffer.alloc(2 + extra + (isMasked ? 4 : 0), 0xff)
  header[0] = opcode
  header[1] = (isMasked ? 0x80 : 0) | (extra === 0 ? length : extra === 2 ? 126 : 127)
  if (extra === 2) header.writeUInt16BE(length, 2)
  if (extra === 8) header.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([header, Buffer.alloc(length, 0x88)])
}

t.test('it stands between frames exactly where one ends, however the bytes come', async t => {
  const length = fc.constantFrom(0, 1, 2, 125, 126, 127, 300, 65_535, 65_536)
  const frames = fc.array(
    fc.record({
      opcode: fc.constantFrom(0x00, 0x01, 0x80, 0x81, 0x82, 0x89, 0x8a, 0xc1, 0x41),
      length,
      isMasked: fc.boolean(),
    }),
    { minLength: 1, maxLength: 6 },
  )
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1 }), (given, cuts) => {
        const parts = given.map(({ opcode, length: size, isMasked }) => frame(opcode, size, isMasked))
        const bytes = Buffer.concat(parts)
        const ends = new Set<number>([0])
        let sum = 0
        for (const part of parts) {
          sum += part.length
          ends.add(sum)
        }
        const tracker = new FrameTracker()
        for (let pos = 0, turn = 0; pos < bytes.length; turn++) {
          const next = Math.min(bytes.length, pos + cuts[turn % cuts.length]!)
          if (tracker.advance(bytes, pos, next, false) !== next) return false
          if (tracker.isAtBoundary !== ends.has(next)) return false
          pos = next
        }
        return !tracker.hasClosed
      }),
      { numRuns: 300 },
    ),
  )
})

t.test('told to stop, it stops at the end of the frame under way', async t => {
  const bytes = Buffer.concat([frame(0x01, 300), frame(0x80, 5), frame(0x81, 0)])
  const tracker = new FrameTracker()
  t.equal(tracker.advance(bytes, 0, bytes.length, true), 0, 'at once, when there is none')
  t.equal(tracker.advance(bytes, 0, 1, false), 1)
  t.equal(tracker.advance(bytes, 1, 200, true), 200, 'or takes all')
  t.equal(tracker.advance(bytes, 200, bytes.length, true), 304)
  t.ok(tracker.isAtBoundary)
})

t.test('a close frame is known from its header on', async t => {
  const tracker = new FrameTracker()
  const close = renderCloseFrame(CloseCode.GOING_AWAY, 'bye', true)
  tracker.advance(close, 0, 5, false)
  t.notOk(tracker.hasClosed)
  tracker.advance(close, 5, 6, false)
  t.ok(tracker.hasClosed)
  t.notOk(tracker.isAtBoundary)
  tracker.advance(close, 6, close.length, false)
  t.ok(tracker.isAtBoundary)
})

t.test('what is no WebSocket is never taken for one at a boundary again', async t => {
  const tracker = new FrameTracker()
  const bytes = Buffer.alloc(40, 0xff)
  t.equal(tracker.advance(bytes, 0, 40, false), 40)
  t.notOk(tracker.isAtBoundary)
  t.equal(tracker.advance(Buffer.from([0x81, 0]), 0, 2, true), 2)
  t.notOk(tracker.isAtBoundary)
})

t.test('the close frame that we send', async t => {
  t.equal(renderCloseFrame(1001, 'Going away', false).toString('latin1'), '\x88\x0c\x03\xe9Going away')
  const masked = renderCloseFrame(1011, 'x'.repeat(200), true)
  t.equal(masked.length, 2 + 4 + 125, 'no longer than a control frame may be')
  const payload = masked.subarray(6).map((byte, index) => byte ^ masked[2 + (index % 4)]!)
  t.equal(Buffer.from(payload).readUInt16BE(), 1011)
  t.equal(Buffer.from(payload).toString('latin1', 2), 'x'.repeat(123))
})
