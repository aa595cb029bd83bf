/** Waits for work that may never end, at most so long. A rejection ends the wait; whoever owns the work is told of it. */
export async function atMost(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  const { promise: passed, resolve } = Promise.withResolvers<void>()
  // A disk that hangs must not keep a process from ending.
  const timer = setTimeout(resolve, timeoutMs)
  const done = work.then(
    () => undefined,
    () => undefined,
  )
  await Promise.race([done, passed])
  clearTimeout(timer)
}
