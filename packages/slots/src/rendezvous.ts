const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** A 32-bit hash of a string (FNV-1a over UTF-16 units). Not for secrets. */
export function hashText(text: string): number {
  let hash = FNV_OFFSET
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), FNV_PRIME)
  return hash >>> 0
}

/** Whose a waiting request is: those of one token (or of the same tokens) take turns with those of others. */
export function flowOf(tokens: readonly string[]): number {
  return tokens.length === 0 ? 0 : hashText(tokens.join())
}

/**
 * How much one party prefers another: a well mixed function of both hashes. Every pair has its own rank, so that a party
 * that comes or goes changes nobody else's preferences.
 */
export function preferenceOf(aHash: number, bHash: number): number {
  let mixed = Math.imul(aHash ^ Math.imul(bHash, 0x9e3779b1), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
