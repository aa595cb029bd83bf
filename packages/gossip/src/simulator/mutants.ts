import { RULES, type Rules } from '../rules.ts'

/** A bug planted on purpose, to prove that the checks see. */
export interface Mutant {
  readonly name: string
  readonly story: string
  readonly rules: Partial<Rules>
}

/** The planted bugs. The simulator must find each. */
export const MUTANTS: readonly Mutant[] = [
  { name: 'no-refutation', story: 'Nobody objects to its own death.', rules: { refutes: () => false } },
  {
    name: 'rumour-of-life',
    story: 'At equal incarnation the last word wins: a suspicion is undone by old news.',
    rules: { isNews: (claim, known) => claim.incarnation >= known.incarnation && claim.state !== known.state },
  },
  {
    name: 'death-by-sync',
    story: 'A death learned by full exchange is believed at once.',
    rules: { stateBySync: claim => claim.state },
  },
  { name: 'no-indirect-probes', story: 'Nobody else is asked.', rules: { asksOthers: () => false } },
  {
    name: 'blames-others-for-own-pause',
    story: 'Who was stopped takes the silence for the silence of the others.',
    rules: { forgivesOwnAbsence: () => false },
  },
  { name: 'no-healing', story: 'Nobody looks for those who are missing.', rules: { heals: () => false } },
  { name: 'gap-ignored', story: 'A delta is applied where it does not connect.', rules: { connects: () => true } },
  {
    name: 'version-without-generation',
    story: 'The first writes of a new life look older than the last ones of the previous.',
    rules: { isLater: (a, b) => a.version > b.version },
  },
  {
    name: 'earlier-life-wins',
    story: 'A member whose clock went back keeps writing below what the others know.',
    rules: { goesAboveEarlierLife: () => false },
  },
  { name: 'endless-gossip', story: 'News is never old.', rules: { sendsLimited: () => false } },
]

/** The rules with this bug in them. */
export function rulesOf(mutant: Mutant | undefined): Rules {
  return { ...RULES, ...mutant?.rules }
}
