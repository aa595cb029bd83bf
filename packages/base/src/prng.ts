/** A source of chance. Pure code takes one as a parameter so that equal seeds give equal runs. */
export interface Prng {
  /** Uniform in [0, 1). */
  next(): number
  /** Uniform integer in [0, bound). */
  below(bound: number): number
}

/**
 * A small seeded generator (sfc32, 128 bits of state). Not for secrets.
 *
 * @param seed any integer; only its low 32 bits count
 */
export function createPrng(seed: number): Prng {
  let a = 0x9e3779b9
  let b = 0x243f6a88
  let c = 0xb7e15162
  let counter = seed >>> 0
  const next32 = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + sum) | 0
    return sum >>> 0
  }
  const WARM_UP_ROUNDS = 15
  for (let round = 0; round < WARM_UP_ROUNDS; round++) next32()
  return {
    next: () => next32() / 2 ** 32,
    below: bound => Math.floor((next32() / 2 ** 32) * bound),
  }
}
