/** As much of protobuf as `etcdserverpb.PutRequest` and `StatusResponse` need. */

/** A `PutRequest`. */
export function encodePut(key: string, value: string): Buffer {
  return Buffer.concat([bytesField(1, Buffer.from(key)), bytesField(2, Buffer.from(value))])
}

/** Reads a `PutRequest`. */
export function decodePut(bytes: Buffer): { key: string; value: string } {
  let key = ''
  let value = ''
  for (const { number, content } of fields(bytes)) {
    if (number === 1 && typeof content === 'object') key = content.toString()
    else if (number === 2 && typeof content === 'object') value = content.toString()
  }
  return { key, value }
}

/** Who answered a `StatusResponse`, and who leads; 0n: nobody. */
export function decodeStatus(bytes: Buffer): { member: bigint; leader: bigint } {
  let member = 0n
  let leader = 0n
  for (const { number, content } of fields(bytes)) {
    if (number === 1 && typeof content === 'object') {
      for (const inner of fields(content)) if (inner.number === 2) member = inner.content as bigint
    } else if (number === 4) leader = content as bigint
  }
  return { member, leader }
}

function bytesField(number: number, content: Buffer): Buffer {
  const head = [(number << 3) | 2]
  let rest = content.length
  for (; rest >= 128; rest >>>= 7) head.push((rest & 127) | 128)
  return Buffer.concat([Buffer.from([...head, rest]), content])
}

function* fields(bytes: Buffer): Generator<{ number: number; content: bigint | Buffer }> {
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const wire = tag & 7
    if (wire !== 0 && wire !== 2) throw new Error(`wire type ${wire} is not expected here`)
    const value = varint()
    if (wire === 2) {
      yield { number: tag >> 3, content: bytes.subarray(at, at + Number(value)) }
      at += Number(value)
    } else yield { number: tag >> 3, content: value }
  }
}
