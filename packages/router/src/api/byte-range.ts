/** What part of a file an answer shows. */
export type ByteRange =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly from: number; readonly to: number }
  | { readonly kind: 'unsatisfiable' }

/**
 * Reads a `range` header with one range (RFC 9110 §14); anything else means the whole file, as servers may choose.
 *
 * @param to is not part of the range
 * @example parseByteRange('bytes=-4', 10) // { kind: 'part', from: 6, to: 10 }
 */
export function parseByteRange(header: string | undefined, size: number): ByteRange {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return { kind: 'whole' }
  if (first === '') {
    const length = Math.min(size, Number(last))
    return length === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', from: size - length, to: size }
  }
  const from = Number(first)
  const to = last === '' ? size : Math.min(size, Number(last) + 1)
  if (last !== '' && Number(last) < from) return { kind: 'whole' }
  return from >= size ? { kind: 'unsatisfiable' } : { kind: 'part', from, to }
}
