/** One change of the map, as a watcher sees it. */
export type KeyValueChange =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly version: number }
  | { readonly kind: 'delete'; readonly key: string; readonly version: number }

/** What happened since a version. */
export type ChangesSince =
  | { readonly kind: 'changes'; readonly changes: readonly KeyValueChange[]; readonly version: number }
  /** Too long ago: list everything and watch from there. */
  | { readonly kind: 'lagged' }

/** The newest changes, bounded by count: what watchers read from (rule K7). Not part of the replicated state. */
export class RecentChanges {
  readonly #maxChanges: number
  #changes: KeyValueChange[] = []
  /** Nothing at or below this version can be told any more. */
  #floor: number

  constructor(maxChanges: number, floor: number) {
    this.#maxChanges = maxChanges
    this.#floor = floor
  }

  add(change: KeyValueChange): void {
    this.#changes.push(change)
    // Dropping a half at a time keeps the cost of a change constant.
    if (this.#changes.length <= this.#maxChanges * 2) return
    this.#floor = this.#changes[this.#changes.length - this.#maxChanges - 1]!.version
    this.#changes = this.#changes.slice(-this.#maxChanges)
  }

  /** Changes after `version` below a prefix, oldest first, at most `limit`. */
  since(
    version: number,
    options: { readonly prefix: string; readonly limit: number; readonly now: number },
  ): ChangesSince {
    if (version < this.#floor) return { kind: 'lagged' }
    const found: KeyValueChange[] = []
    // Every change has its own version and none is missing: the first one wanted is at a known place.
    for (let at = version - this.#floor; at < this.#changes.length; at++) {
      const change = this.#changes[at]!
      if (!change.key.startsWith(options.prefix)) continue
      found.push(change)
      if (found.length === options.limit) return { kind: 'changes', changes: found, version: change.version }
    }
    return { kind: 'changes', changes: found, version: options.now }
  }
}
