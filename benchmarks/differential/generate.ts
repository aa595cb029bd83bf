import { createPrng, type Prng } from '../../packages/base/src/index.ts'
import { type Draft, draft, type Oddity, render } from './odd-request.ts'
import { ODDITY_GROUPS, pick } from './oddities.ts'

/** One conversation to send: some requests on one connection. */
export interface OddCase {
  readonly id: number
  /** What is odd about it. */
  readonly oddities: readonly string[]
  readonly bytes: Buffer
  /** Where `bytes` are cut into separate writes. */
  readonly cuts: readonly number[]
  /** FIN follows the last byte. */
  readonly endsWithFin: boolean
}

/** Makes the same cases from the same seed. */
export function generateCases(count: number, seed: number): OddCase[] {
  const prng = createPrng(seed)
  return Array.from({ length: count }, (_, id) => generateCase(id, prng))
}

const DAMAGE_BYTES = [0, 9, 10, 11, 13, 32, 34, 44, 48, 58, 59, 92, 127, 133, 160, 255]

function generateCase(id: number, prng: Prng): OddCase {
  const oddities: string[] = []
  const drafts: Draft[] = []
  // An odd request, perhaps between ordinary ones; the last is always ordinary and shows where the proxy thinks it is.
  const before = prng.below(4) === 0 ? 1 : 0
  for (let n = 0; n < before; n++) drafts.push(spoil(draft(`c${id}-${n}`), pickOddity(prng, ORDINARY_GROUP), prng))
  const odd = draft(`c${id}-odd`)
  for (let count = prng.below(8) === 0 ? 2 : 1; count > 0; count--) {
    const oddity = pickOddity(prng, prng.below(ODDITY_GROUPS.length))
    oddities.push(oddity.name)
    spoil(odd, oddity, prng)
  }
  drafts.push(odd, draft(`c${id}-last`))
  let bytes = Buffer.from(drafts.map(render).join(''), 'latin1')
  const special = prng.below(20)
  if (special === 0) {
    oddities.push('damaged-bytes')
    for (let count = 1 + prng.below(3); count > 0; count--) bytes[prng.below(bytes.length)] = pick(prng, DAMAGE_BYTES)
  } else if (special === 1) {
    oddities.push('cut-short')
    bytes = bytes.subarray(0, prng.below(bytes.length))
  }
  const endsWithFin = prng.below(12) === 0
  if (endsWithFin) oddities.push('half-close')
  const cuts = prng.below(3) === 0 ? Array.from({ length: 1 + prng.below(6) }, () => prng.below(bytes.length + 1)) : []
  return { id, oddities, bytes, cuts: cuts.sort((a, b) => a - b), endsWithFin }
}

const ORDINARY_GROUP = ODDITY_GROUPS.length - 1

function pickOddity(prng: Prng, group: number): Oddity {
  return pick(prng, ODDITY_GROUPS[group] as readonly Oddity[])
}

function spoil(one: Draft, oddity: Oddity, prng: Prng): Draft {
  oddity.spoil(one, prng)
  return one
}
