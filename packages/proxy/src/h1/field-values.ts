import { IS_HOST, IS_IPV6 } from './char-tables.ts'

/** Longest content length: 15 digits stay exact in a double. */
const CONTENT_LENGTH_DIGITS_MAX = 15
const PORT_DIGITS_MAX = 5
const OUTER_BLANKS = /^[ \t]+|[ \t]+$/g

/** The number a Content-Length value stands for, or -1 unless it is 1 to 15 digits and nothing else. */
export function parseContentLength(text: string, start: number, end: number): number {
  if (end === start || end - start > CONTENT_LENGTH_DIGITS_MAX) return -1
  let length = 0
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return -1
    length = length * 10 + digit
  }
  return length
}

/** Compares a range of `text` with a lower-case word, ignoring ASCII case. */
export function equalsLower(text: string, start: number, end: number, lowerWord: string): boolean {
  if (end - start !== lowerWord.length) return false
  for (let i = 0; i < lowerWord.length; i++) {
    let code = text.charCodeAt(start + i)
    if (code >= 0x41 && code <= 0x5a) code += 32
    if (code !== lowerWord.charCodeAt(i)) return false
  }
  return true
}

/** Lower-case members of a comma-separated list, blanks trimmed, empty members skipped. */
export function listMembers(value: string): string[] {
  const members: string[] = []
  for (const part of value.split(',')) {
    // Not `trim`, which takes Latin-1's no-break space for a blank: others do not.
    const member = part.replace(OUTER_BLANKS, '').toLowerCase()
    if (member !== '') members.push(member)
  }
  return members
}

/**
 * Length of the host part of a valid `host[:port]`, or -1 when the value is no valid authority (user info, blanks,
 * empty host, bad port, stray characters).
 */
export function hostLengthOf(authority: string): number {
  const end = authority.length
  let pos = 0
  if (authority.charCodeAt(0) === 0x5b) {
    pos = 1
    while (pos < end && IS_IPV6[authority.charCodeAt(pos)] === 1) pos++
    if (pos < 3 || authority.charCodeAt(pos) !== 0x5d) return -1
    pos += 1
  } else {
    while (pos < end && IS_HOST[authority.charCodeAt(pos)] === 1) pos++
  }
  const hostLength = pos
  if (hostLength === 0) return -1
  if (pos === end) return hostLength
  if (authority.charCodeAt(pos) !== 0x3a || end - pos - 1 > PORT_DIGITS_MAX) return -1
  for (pos += 1; pos < end; pos++) {
    const code = authority.charCodeAt(pos)
    if (code < 0x30 || code > 0x39) return -1
  }
  return hostLength
}
