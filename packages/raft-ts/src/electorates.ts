import { applyConfChange } from './config-change.ts'
import type { ConfChange, ConfState } from './types.ts'

/**
 * The configurations in which a candidate must win (rule E11): the one that it has applied, and each that its log goes on
 * to. It may have lost track of what is committed: whoever knows better counts by one of these, or by what follows them.
 */
export function computeElectorates(conf: ConfState, changes: readonly ConfChange[]): readonly ConfState[] {
  const confs = [conf]
  for (const change of changes) {
    const next = applyConfChange(confs.at(-1) ?? conf, change)
    // One that cannot be applied here will be replaced before it is committed.
    if (next.ok) confs.push(next.value)
  }
  return confs
}
