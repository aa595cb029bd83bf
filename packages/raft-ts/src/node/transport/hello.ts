import { ByteReader, ByteWriter, type NodeId } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'

/** How a connection introduces itself. */
export interface Hello {
  readonly group: string
  readonly from: NodeId
  readonly to: NodeId
  readonly carries: 'messages' | 'snapshot'
}

const MAGIC = 'raft-ts'
const VERSION = 1

/** A hello as bytes. */
export function encodeHello({ group, from, to, carries }: Hello): Uint8Array {
  const writer = new ByteWriter().text(MAGIC).varint(VERSION).text(group)
  return writer
    .varint(from)
    .varint(to)
    .varint(carries === 'messages' ? 0 : 1)
    .finish()
}

/**
 * Reads a hello and checks that it is meant for this node.
 *
 * @throws {RaftNodeError} `RAFT_BAD_PEER`
 */
export function acceptHello(payload: Uint8Array, self: Pick<Hello, 'group' | 'to'>): Hello {
  let hello: Hello
  try {
    const reader = new ByteReader(payload)
    const magic = reader.text()
    const version = reader.varint()
    if (magic !== MAGIC || version !== VERSION) throw new Error(`it speaks ${magic} version ${version}`)
    const [group, from, to] = [reader.text(), reader.varint(), reader.varint()]
    hello = { group, from, to, carries: reader.varint() === 0 ? 'messages' : 'snapshot' }
  } catch (cause) {
    throw new RaftNodeError('A connection did not begin like one of raft-ts.', { code: 'RAFT_BAD_PEER', cause })
  }
  if (hello.group === self.group && hello.to === self.to) return hello
  const message =
    `Node ${hello.from} of group "${hello.group}" wanted node ${hello.to}, but this is node ${self.to} of group ` +
    `"${self.group}": are the addresses of the peers right?`
  throw new RaftNodeError(message, { code: 'RAFT_BAD_PEER' })
}
