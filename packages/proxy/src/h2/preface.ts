import { PREFACE } from './frames/frame-type.ts'

/** What the first bytes of a plain-text connection turn out to be. */
export type PrefaceGuess = 'h2' | 'not-h2' | 'more'

/**
 * Tells HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes. `more` only as long as every byte fits: an
 * HTTP/1.1 request is recognised at its first character that differs (no method begins with `PRI * HTTP/2.0`).
 * The bytes are not consumed: give them all to the engine that the answer names.
 */
export function guessPreface(bytes: Uint8Array, start: number, end: number): PrefaceGuess {
  const length = Math.min(end - start, PREFACE.length)
  for (let i = 0; i < length; i++) if (bytes[start + i] !== PREFACE[i]) return 'not-h2'
  return length === PREFACE.length ? 'h2' : 'more'
}
