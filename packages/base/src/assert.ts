/**
 * Crashes on a broken invariant. Assertions stay on in production: a process that has lost its footing
 * must not go on writing.
 *
 * @throws {AssertionFailed} when the condition is false
 */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new AssertionFailed(claim)
}

/** Makes the compiler prove that a `switch` is exhaustive; crashes if a value slipped past it at run time. */
export function assertNever(value: never): never {
  throw new AssertionFailed(`unexpected variant: ${JSON.stringify(value)}`)
}

/** A broken invariant: a bug in Waiter, never a user's mistake. */
export class AssertionFailed extends Error {
  override readonly name: string = 'AssertionFailed'
}
