/** Bugs that can be planted into the members, to prove that a run notices them. */
export const PLANTS = {
  'local-reads': 'a member answers reads from its own map without asking for a read index',
  'no-sessions': 'a retried write is applied again',
  'no-sync': 'a sync does nothing: what was acknowledged can be lost with the process',
} as const

/** The name of a planted bug. */
export type Plant = keyof typeof PLANTS

/** True for names of `PLANTS`. */
export function isPlant(name: string): name is Plant {
  return Object.hasOwn(PLANTS, name)
}
