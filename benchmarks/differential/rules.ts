import { ABSENT, type Difference, type Subject } from './compare.ts'

/** Why two proxies may differ. A difference that no rule covers fails the run. */
export interface Rule {
  readonly name: string
  /** Why Waiter does what it does, or why the difference is harmless. */
  readonly why: string
  covers(difference: Difference, subject: Subject): boolean
}

const REFUSALS: Readonly<Record<string, string>> = {
  'a bare LF': 'RFC 9112 §2.2 lets a server take LF alone for a line end; two servers that disagree see two requests',
  'a bare CR': 'RFC 9112 §2.2: a bare CR is invalid; who takes it for a line end sees other fields',
  'a malformed request line':
    'RFC 9112 §3: one blank between the parts, nothing else; no control, raw UTF-8 or `#` in the target',
  'a method too long': 'no method has more than 32 letters',
  'a target too long': 'limit of 8 KiB, answered 414',
  'an HTTP version that nobody speaks': 'only HTTP/1.0 and 1.1 are defined; 505',
  'a head too large': 'limit of 64 KiB, answered 431',
  'too many fields': 'limit of 100, answered 431',
  'a folded or indented line': 'RFC 9112 §5.2: obsolete folding is refused, since backends read it in two ways',
  'a blank before the colon': 'RFC 9112 §5.1: must be refused with 400',
  'a malformed field name': 'RFC 9110 §5.1: a name is a token; dropping the line hides it from us, not from others',
  'a control character in a value': 'RFC 9110 §5.5: CR, LF and NUL are dangerous, other controls invalid',
  'more than one Host': 'RFC 9112 §3.2: must be refused with 400, also when both are equal',
  'no Host': 'RFC 9112 §3.2: must be refused with 400',
  'an invalid Host': 'RFC 9112 §3.2: must be refused with 400; the host chooses the service',
  'both Content-Length and Transfer-Encoding':
    'RFC 9112 §6.1: the classic of request smuggling; refused rather than repaired',
  'more than one Content-Length': 'RFC 9110 §8.6 permits to merge equal ones; refused, since no client sends them',
  'an invalid Content-Length': 'RFC 9110 §8.6: digits only, at most 15 of them',
  'more than one Transfer-Encoding': 'RFC 9112 §6.1: only one chunked can be understood by everybody',
  'Transfer-Encoding in HTTP/1.0': 'RFC 9112 §6.1: its framing must be taken for faulty',
  'a Transfer-Encoding other than chunked': 'RFC 9112 §6.1: what is not understood cannot be framed',
  'an expectation other than 100-continue': 'RFC 9110 §10.1.1: 417',
  CONNECT: 'not a tunnel for anybody: 405',
  'a target that is neither path nor URL': 'RFC 9112 §3.2: origin form, absolute form (http), or * with OPTIONS',
  'a target and a Host that differ': 'RFC 9112 §3.2.2 makes the target win; who overlooks that routes by the other',
  'a malformed chunk size': 'RFC 9112 §7.1: 1 to 8 hexadecimal digits, no zeros in front, no blanks',
  'a forbidden character in a chunk extension': 'RFC 9112 §7.1.1: bare LF in an extension is a known smuggling vector',
  'chunk extensions too long': 'limit of 4 KiB for a body',
  'chunk data that does not end where its size says': 'RFC 9112 §7.1: the framing is broken',
  'trailers too large': 'limit of 8 KiB',
}

const HOP_BY_HOP = /^(?:connection|keep-alive|te|trailer|trailers|proxy-connection|proxy-auth.*|http2-settings|x-hop)$/
/** HAProxy's buffer and nginx's line buffers hold less than Waiter's 64 KiB. */
const PEER_HEAD_BYTES_MAX = 8_000

const text = ({ oddCase }: Subject): string => oddCase.bytes.toString('latin1')
const isRefusedByPeer = ({ aspect }: Difference): boolean => aspect === 'refused by the peer only'
const WAITER_REFUSES: readonly Rule[] = Object.entries(REFUSALS).map(([refusal, why]) => ({
  name: `Waiter refuses ${refusal}`,
  why,
  covers: ({ aspect }, { reading }) => aspect === 'refused by Waiter only' && reading.refusal === refusal,
}))

const FIELD_RULES: readonly Rule[] = [
  {
    name: 'cookies of Waiter’s own are removed',
    why: 'waiter-spec §1.5: backends do not see `x-waiter-auth` and its kin',
    covers: ({ aspect, fieldName }) => aspect === 'fields' && fieldName === 'cookie',
  },
  {
    name: 'hop-by-hop fields end here',
    why: 'RFC 9110 §7.6.1: Connection, what it names, and their kin are not for the next hop; peers pass some of them on',
    covers: ({ aspect, fieldName }) => aspect === 'fields' && HOP_BY_HOP.test(fieldName),
  },
  {
    name: 'an upgrade is passed on, except h2c',
    why: 'RFC 9113 §3.1 withdrew the upgrade to h2c, a known way around a proxy; nginx passes on none unless configured to',
    covers: ({ aspect, fieldName }) => aspect === 'fields' && fieldName === 'upgrade',
  },
  {
    name: 'a host is made up for HTTP/1.0',
    why: 'Waiter speaks HTTP/1.1 to backends, which must have one; nginx sends an empty one',
    covers: ({ aspect, fieldName }, subject) =>
      aspect === 'fields' && fieldName === 'host' && text(subject).includes('HTTP/1.0'),
  },
  {
    name: 'a name with underscores for hyphens is dropped when the name is special',
    why: 'CGI and WSGI cannot tell the two apart; nginx drops every name with an underscore, HAProxy none',
    covers: ({ aspect, fieldName, waiter }) =>
      aspect === 'fields' &&
      fieldName.includes('_') &&
      (waiter !== ABSENT || /^(?:x_waiter_|transfer_|content_length)/.test(fieldName)),
  },
  {
    name: 'nginx drops names with other signs than letters, digits and hyphens',
    why: 'they are tokens, and valid',
    covers: ({ aspect, fieldName, peer }) => aspect === 'fields' && /[^a-z0-9-]/.test(fieldName) && peer === ABSENT,
  },
  {
    name: 'the backend decides about Expect',
    why: 'RFC 9110 §10.1.1: passed on, so that a backend can refuse a body before it is sent; nginx answers 100 by itself',
    covers: ({ aspect, fieldName }) => aspect === 'fields' && fieldName === 'expect',
  },
]

const PEER_REFUSES: readonly Rule[] = [
  {
    name: 'the peer’s buffers for a head are smaller',
    why: 'HAProxy: 16 KiB with a reserve (`tune.bufsize`); nginx: 8 KiB a line (`large_client_header_buffers`); Waiter: 64 KiB',
    covers: (difference, subject) => isRefusedByPeer(difference) && longestHead(text(subject)) > PEER_HEAD_BYTES_MAX,
  },
  {
    name: 'HAProxy wants a key with `Upgrade: websocket`',
    why: 'Waiter leaves the handshake to the backend, which answers 400 itself',
    covers: (difference, subject) => isRefusedByPeer(difference) && /upgrade: websocket/i.test(text(subject)),
  },
  {
    name: 'half a request and FIN: the peer answers 400, Waiter closes',
    why: 'who left in the middle of a head or a body does not wait for an answer',
    covers: (difference, subject) =>
      isRefusedByPeer(difference) && subject.oddCase.endsWithFin && subject.reading.isUnfinished,
  },
  {
    name: 'nginx knows methods of capital letters only',
    why: 'RFC 9110 §9.1: a method is a token; backends may have their own',
    covers: (difference, subject) => isRefusedByPeer(difference) && /(?:get|BREW-1) \//.test(text(subject)),
  },
  {
    name: 'nginx judges parts of a head before the whole is there',
    why: 'Waiter judges what a head means at its end, which must come within 10 s',
    covers: (difference, subject) => isRefusedByPeer(difference) && subject.reading.isUnfinished,
  },
  {
    name: 'nginx refuses TRACE',
    why: 'Waiter passes it on: a backend that minds answers 405 itself',
    covers: (difference, subject) => isRefusedByPeer(difference) && /TRACE /.test(text(subject)),
  },
  {
    name: 'nginx refuses targets that it cannot decode into a file name',
    why: 'Waiter passes a valid target on as it is: what %00 or ../ means is the backend’s affair',
    covers: (difference, subject) => isRefusedByPeer(difference) && /%00|%(?![0-9a-f]{2})|\/\.\./i.test(text(subject)),
  },
  {
    name: 'nginx refuses a second Authorization',
    why: 'Waiter reads both as one value, which proves nobody (401 where a proof is needed), and passes none on to a backend',
    covers: (difference, subject) =>
      isRefusedByPeer(difference) && /\r\nauthorization:(?:[^\r]|\r(?!\n\r\n))*\r\nauthorization:/i.test(text(subject)),
  },
  {
    name: 'nginx takes a tab behind `chunked` for a part of it',
    why: 'RFC 9112 §5: blanks around a value, tabs too, do not belong to it',
    covers: (difference, subject) => isRefusedByPeer(difference) && /chunked\t/i.test(text(subject)),
  },
]

const OTHERS: readonly Rule[] = [
  {
    name: 'both refuse, with another status',
    why: 'Waiter says 414, 417, 431 or 505 where these fit; peers say 400, 501 or close without a word',
    covers: ({ aspect }) => aspect === 'status of the refusal',
  },
  {
    name: 'HTTP/1.0 requests become HTTP/1.1 ones',
    why: 'RFC 9110 §2.5: a proxy sends its own version; HAProxy keeps the client’s',
    covers: ({ aspect, waiter, peer }) =>
      aspect === 'start line' && waiter.endsWith('HTTP/1.1') && peer === waiter.replace(/1$/, '0'),
  },
  {
    name: 'the absolute form becomes the origin form',
    why: 'RFC 9112 §3.2.2: the next hop is the origin server; HAProxy passes it on as it is',
    covers: ({ aspect, waiter, peer }) => aspect === 'start line' && peer.replace(/http:\/\/[^/ ]*/i, '') === waiter,
  },
  {
    name: 'nginx gives a chunked body that has arrived whole a length',
    why: 'same body, same bounds; Waiter keeps the client’s framing',
    covers: ({ aspect, waiter, peer }) => aspect === 'framing' && waiter === 'chunked' && peer === 'length',
  },
  {
    name: 'a client that has sent FIN gets all answers that it asked for',
    why: 'RFC 9112 §9.6: FIN ends what the client sends, not what it reads; peers stop behind the first answer or two',
    covers: ({ aspect }, { oddCase }) => aspect === 'requests seen by the backend' && oddCase.endsWithFin,
  },
  {
    name: 'nginx finds `close` anywhere in Connection',
    why: 'Latin-1’s no-break space is no blank, so the option is another',
    covers: ({ aspect }, subject) =>
      aspect === 'requests seen by the backend' && /connection: \xa0close/i.test(text(subject)),
  },
  {
    name: 'nginx keeps the connection open behind a refusal for a while',
    why: 'both sent their last answer; Waiter says so at once (FIN)',
    covers: ({ aspect, waiter, peer }, { reading }) =>
      aspect === 'end of the connection' && waiter === 'closed' && peer === 'open' && reading.refusal !== undefined,
  },
]

/** In the order in which they are tried. */
export const RULES: readonly Rule[] = [...WAITER_REFUSES, ...FIELD_RULES, ...PEER_REFUSES, ...OTHERS]

/** Bytes of the longest head. */
function longestHead(conversation: string): number {
  return Math.max(...conversation.split('\r\n\r\n').map(({ length }) => length))
}
