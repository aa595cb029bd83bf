import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually, type StartedWaiter, startGuard, startWaiter } from '@waiter/testkit'
import type { Test } from 'tap'

export interface Member {
  readonly id: number
  readonly node: string
  readonly host: string
  readonly role: string
  readonly address: string
  readonly 'active?': boolean
}

/**
 * Hosts are loopback addresses with data directories of their own: nothing but their sockets connects them.
 *
 * @param isHasty they stop without waiting until others have taken over what they run: tests that are about something else
 */
export function createHosts(t: Test, { isHasty = true }: { readonly isHasty?: boolean } = {}) {
  if (isHasty) process.env['WAITER_SCHEDULER_CONFIG__HOSTS__MOVE_TIMEOUT_MS'] = '0'
  const root = mkdtempSync(join(tmpdir(), 'waiter-hosts-test-'))
  // Each host has a guard of its own; this one is for the directory, and for starts that are meant to fail.
  const guard = startGuard(root, true)
  t.teardown(() => {
    guard.dismiss()
    rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  })
  const secretFile = join(root, 'secret')
  return {
    root,
    secretFile,
    directoryOf: (name: string) => join(root, name),
    start: async (name: string, seeds: readonly StartedWaiter[] = [], args: readonly string[] = []) => {
      const join_ = seeds.flatMap(({ nodes }) => ['--join', nodes[0]?.grpc ?? ''])
      const number = 10 + 'abcdefgh'.indexOf(name)
      const secret = seeds.length > 0 ? ['--secret-file', secretFile] : []
      const waiter = await startWaiter({
        dataDirectory: join(root, name),
        args: ['--workers', '1', '--advertise', `127.0.0.${number}`, '--name', name, ...join_, ...secret, ...args],
      })
      t.teardown(() => waiter.stop())
      if (!existsSync(secretFile)) copyFileSync(join(root, name, 'cluster-secret'), secretFile)
      return waiter
    },
  }
}

export const membersOf = async (waiter: StartedWaiter): Promise<Member[]> =>
  (await waiter.api('/cluster/members')).members

/** Waits until exactly these vote; the rest learns. */
export const untilVoters = (waiter: StartedWaiter, nodes: readonly string[]): Promise<Member[]> =>
  eventually(
    async () => {
      const members = await membersOf(waiter)
      const voters = members.filter(({ role }) => role === 'voter').map(({ node }) => node)
      return JSON.stringify(voters.sort()) === JSON.stringify([...nodes].sort()) ? members : undefined
    },
    `${nodes.join(', ')} to be the voters`,
  )
