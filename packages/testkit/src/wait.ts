import type { EventEmitter } from 'node:events'
import type { Readable } from 'node:stream'

/** How long to wait before the test is told that it waits in vain. */
export interface WaitOptions {
  readonly timeoutMs?: number
}

/** A hung test is better told what it hangs on than killed by the runner, which allows 240 s. */
const WAIT_MS_MAX = 60_000

/**
 * Rejects with "waited in vain for <what>" when `promise` has not settled in time.
 */
export async function within<T>(promise: Promise<T>, what: string, options: WaitOptions = {}): Promise<T> {
  const timeoutMs = options.timeoutMs ?? WAIT_MS_MAX
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${timeoutMs} ms in vain for ${what}`)), timeoutMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The first argument of the next `name` event that satisfies `where`. */
export async function waitForEvent<T = unknown>(
  emitter: EventEmitter,
  name: string,
  options: WaitOptions & { readonly where?: (value: T) => boolean } = {},
): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<T>()
  const listener = (value: T): void => {
    if (options.where?.(value) ?? true) resolve(value)
  }
  emitter.on(name, listener)
  try {
    return await within(promise, `the event "${name}"`, options)
  } finally {
    emitter.off(name, listener)
  }
}

/** The match of the first line that `pattern` matches. Lines before it are dropped; reading goes on after it. */
export async function waitForLine(
  stream: Readable,
  pattern: RegExp,
  options: WaitOptions = {},
): Promise<RegExpExecArray> {
  const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>()
  let held = ''
  const onData = (chunk: Buffer | string): void => {
    const lines = (held + chunk.toString()).split('\n')
    held = lines.pop() as string
    for (const line of lines) {
      const found = pattern.exec(line)
      if (found !== null) {
        resolve(found)
        return
      }
    }
  }
  const onEnd = (): void => reject(new Error(`the stream ended without a line that matches ${String(pattern)}`))
  stream.on('data', onData)
  stream.once('end', onEnd)
  try {
    return await within(promise, `a line that matches ${String(pattern)}`, options)
  } finally {
    stream.off('data', onData)
    stream.off('end', onEnd)
  }
}

/** Collects what happens, so that a test can wait for it, whether it has happened already or not. */
export interface Recorder<T> {
  readonly items: readonly T[]
  push(item: T): void
  /** The first item, past or future, that satisfies `where`. */
  waitFor(where: (item: T) => boolean, options?: WaitOptions): Promise<T>
  /** Resolves when at least `count` items are there. */
  waitForCount(count: number, options?: WaitOptions): Promise<void>
}

/** An empty recorder. Pass `recorder.push` as the callback of what is tested. */
export function createRecorder<T>(): Recorder<T> {
  const items: T[] = []
  const watchers = new Set<() => void>()
  const until = <R>(look: () => R | undefined, options: WaitOptions = {}): Promise<R> => {
    const { promise, resolve } = Promise.withResolvers<R>()
    const check = (): void => {
      const found = look()
      if (found === undefined) return
      watchers.delete(check)
      resolve(found)
    }
    watchers.add(check)
    check()
    return within(promise, `a record (there are ${items.length})`, options).finally(() => watchers.delete(check))
  }
  return {
    items,
    push: item => {
      items.push(item)
      for (const check of [...watchers]) check()
    },
    waitFor: async (where, options) => {
      const found = await until(() => {
        const item = items.find(where)
        return item === undefined ? undefined : { item }
      }, options)
      return found.item
    },
    waitForCount: async (count, options) => {
      await until(() => (items.length >= count ? true : undefined), options)
    },
  }
}

/**
 * Asks again and again until the answer is not undefined, and returns it. Only for what lives in other processes and
 * announces nothing: everything else has an event to wait for. Errors of `ask` count as "not yet".
 */
export async function eventually<T>(
  ask: () => Promise<T | undefined> | T | undefined,
  what: string,
  options: WaitOptions & { readonly everyMs?: number } = {},
): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? WAIT_MS_MAX)
  const everyMs = options.everyMs ?? 10
  let lastError: unknown
  while (performance.now() < deadlineMs) {
    try {
      const answer = await within(Promise.resolve(ask()), what, { timeoutMs: deadlineMs - performance.now() })
      if (answer !== undefined) return answer
    } catch (error) {
      lastError = error
    }
    await new Promise(resolve => setTimeout(resolve, everyMs))
  }
  throw new Error(`waited in vain for ${what}`, { cause: lastError })
}
