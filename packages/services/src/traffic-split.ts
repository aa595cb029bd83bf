import { isJsonObject, ownValue } from './json.ts'

/** Metadata `traffic-split`: the share of requests that the newest version gets; the one before it gets the others. */
export interface TrafficSplit {
  /** 0 to 100, at most two decimals. */
  readonly percent: number
  /** Keep a user on one version: by a cookie that Waiter sets, or by the value of a request header. */
  readonly sticky?: 'cookie' | `header:${string}`
}

/** Users and requests fall into this many equal parts; a part is on one side of the split as a whole. */
export const SPLIT_BUCKETS = 10_000
const SPLIT_KEYS = ['percent', 'sticky']
const HEADER_STICKY = /^header:[a-z0-9][a-z0-9-]{0,99}$/

/** Judges `traffic-split` (spec §2.2 has no such key). */
export function checkTrafficSplit(value: unknown, name: string): string | undefined {
  if (!isJsonObject(value) || Object.keys(value).some(key => !SPLIT_KEYS.includes(key)))
    return `${name} must be a map with percent and optionally sticky.`
  const percent = ownValue(value, 'percent')
  const isShare = typeof percent === 'number' && percent >= 0 && percent <= 100 && isWhole(percent * 100)
  if (!isShare) return `${name}.percent must be a number from 0 to 100 with at most two decimals.`
  const sticky = ownValue(value, 'sticky')
  const isSticky =
    sticky === undefined ||
    sticky === 'cookie' ||
    (typeof sticky === 'string' && HEADER_STICKY.test(sticky) && !sticky.startsWith('header:x-waiter-'))
  return isSticky ? undefined : `${name}.sticky must be cookie, or header: and the name of a header in lower case.`
}

/** Does the newest version serve a request of this bucket? Raising the percentage never takes a bucket away from it. */
export function isForNewest(bucket: number, { percent }: TrafficSplit): boolean {
  return bucket < Math.round(percent * 100)
}

/** The bucket of somebody, the same on every router: `key` is what they are recognised by. */
export function bucketOf(token: string, key: string): number {
  return hash(`${token}\n${key}`) % SPLIT_BUCKETS
}

/**
 * The bucket of the n-th request of which nobody is to be recognised. Multiples of the golden ratio fall evenly: any
 * stretch of requests is split as asked, not only many.
 */
export function bucketOfCount(count: number): number {
  const GOLDEN = 0x9e3779b1
  return Math.floor(((Math.imul(count, GOLDEN) >>> 0) / 2 ** 32) * SPLIT_BUCKETS)
}

/** The cookie that remembers a bucket; its value is the bucket's number. One per token, since hosts may share tokens. */
export function splitCookieName(token: string): string {
  return `${SPLIT_COOKIE_PREFIX}${hash(token).toString(16).padStart(8, '0')}`
}

/** What names of such cookies begin with: they are Waiter's own and never forwarded. */
export const SPLIT_COOKIE_PREFIX = 'x-waiter-split-'

/** The bucket in a `cookie` header; undefined when there is none that makes sense. */
export function readSplitCookie(cookies: string | undefined, name: string): number | undefined {
  if (cookies === undefined) return undefined
  for (const entry of cookies.split(';')) {
    const trimmed = entry.trim()
    if (!trimmed.startsWith(name) || trimmed[name.length] !== '=') continue
    const value = trimmed.slice(name.length + 1)
    if (/^\d{1,4}$/.test(value)) return Number(value)
  }
  return undefined
}

function isWhole(value: number): boolean {
  return Math.abs(value - Math.round(value)) < 1e-9
}

/** FNV-1a with MurmurHash3's finish: few bits of input change all bits of output. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}
