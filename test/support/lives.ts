import { basename } from 'node:path'
import { eventually, type StartedWaiter, startWaiter, type TestResponse } from '@waiter/testkit'
import type { Test } from 'tap'

/** A request to a token; the answer tells which instance served it. */
export const hello = (waiter: StartedWaiter, token: string): Promise<TestResponse> =>
  waiter.request({ headers: { 'x-waiter-token': token, 'x-waiter-debug': '1' } })

/** A Waiter that ends with the test. */
export async function start(t: Test): Promise<StartedWaiter> {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  return waiter
}

/** Starts another on the directory of one that is dead. */
export async function startAgain(t: Test, dead: StartedWaiter): Promise<StartedWaiter> {
  const waiter = await startWaiter({ dataDirectory: dead.dataDirectory })
  t.teardown(() => waiter.stop())
  return waiter
}

/** Process ids of instances and their children, in order. */
export const pidsOf = (waiter: StartedWaiter): number[] =>
  waiter
    .instanceProcesses()
    .map(({ pid }) => pid)
    .sort()

/** Every process of the data directory belongs to an instance that Waiter knows, and every known instance runs. */
export async function expectNoOrphans(t: Test, waiter: StartedWaiter): Promise<void> {
  const { known, running } = await eventually(async () => {
    const apps = await waiter.api('/apps')
    const details = await Promise.all(
      apps.map((app: Record<string, string>) => waiter.api(`/apps/${app['service-id']}`)),
    )
    const ids: string[] = details.flatMap(app => app.instances['active-instances'].map(({ id }: { id: string }) => id))
    const sandboxes = waiter.instanceProcesses().map(({ sandbox }) => basename(sandbox ?? ''))
    const seen = { known: ids.sort(), running: [...new Set(sandboxes)].sort() }
    return JSON.stringify(seen.known) === JSON.stringify(seen.running) ? seen : undefined
  }, 'what runs to be what Waiter knows')
  t.same(running, known, `no orphan among ${running.length}`)
}
