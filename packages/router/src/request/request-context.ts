import { randomBytes } from 'node:crypto'
import type { Exchange } from '@waiter/proxy'
import type { Identity } from '../auth/identity.ts'

/** What belongs to one request whatever becomes of it. */
export interface RequestContext {
  /** Correlation id: the client's, or one made here. Appears on every answer. */
  readonly cid: string
  /** Who sent it, once that is known. */
  readonly identity?: Identity | undefined
  /** Headers that its answer carries, whatever the answer is. */
  readonly answerHeaders?: readonly (readonly [name: string, value: string])[]
}

/** What a correlation id may look like; anything else is replaced, since it goes into logs and headers. */
const CID = /^[\x21-\x7e]{1,256}$/
/** Random part of this process's ids: a counter alone would repeat after a restart. */
const ID_BASE = randomBytes(8).toString('hex')
let counter = 0

/** A request's context from its head. */
export function contextOf(exchange: Exchange): RequestContext {
  const given = exchange.head.get('x-cid')
  return { cid: given !== undefined && CID.test(given) ? given : nextRequestId() }
}

/** Unique for this process and, by its random base, in practice everywhere. */
export function nextRequestId(): string {
  counter += 1
  return `${counter.toString(16)}-${ID_BASE}`
}
