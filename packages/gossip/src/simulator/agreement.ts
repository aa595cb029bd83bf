import { isPresent } from '../member.ts'
import type { SimGroup } from './sim-group.ts'

/** How exactly the moment of agreement is known. */
const STEP_MS = 25

/** Runs until everybody agrees; how long that took, or nothing when it took too long. */
export function runUntilAgreed(group: SimGroup, limitMs: number): number | undefined {
  const startedAtMs = group.nowMs
  while (disagreement(group) !== undefined) {
    if (group.nowMs - startedAtMs >= limitMs) return undefined
    group.runUntil(group.nowMs + STEP_MS)
  }
  return group.nowMs - startedAtMs
}

/** Why the group does not agree yet; nothing: everybody knows exactly who is up, and everybody's latest row. */
export function disagreement(group: SimGroup): string | undefined {
  const up = group.upNodes()
  for (const node of up) {
    const present = new Set(node.gossip.members().flatMap(({ id, state }) => (isPresent(state) ? [id] : [])))
    for (const other of up) {
      if (other === node) continue
      if (!present.delete(other.id)) return `${node.id} misses ${other.id}`
      const [known, own] = [node.gossip.rowPosition(other.id), other.gossip.rowPosition(other.id)]
      if (own === undefined || own.version === 0) continue
      if (known?.generation !== own.generation || known.version !== own.version) {
        return `${node.id} knows the row of ${other.id} up to ${JSON.stringify(known)}, not ${JSON.stringify(own)}`
      }
    }
    const [ghost] = present
    if (ghost !== undefined) return `${node.id} believes in ${ghost}`
  }
  return undefined
}
