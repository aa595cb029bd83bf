import type { ForwardTarget } from './exchange.ts'

/** Lines to append to a response's head; takes out of it what one of them replaces. */
export function settleResponseLines(target: ForwardTarget, head: { dropField(lowerName: string): void }): string {
  const { extraResponseHead, replacedLocation } = target
  const lines = extraResponseHead + (target.lateResponseHead?.() ?? '')
  if (replacedLocation === undefined) return lines
  head.dropField('location')
  return lines + replacedLocation
}
