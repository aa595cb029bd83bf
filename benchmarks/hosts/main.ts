/**
 * `npm run bench:hosts`: three hosts (network namespaces; needs root and iproute2) become one cluster. The leader's host is
 * cut off from the others, and healed; then it is killed, and comes back. How long can tokens not be written? The last line
 * is JSON.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually, request, type TestResponse, within } from '../../packages/testkit/src/index.ts'
import { createHosts, type Hosts } from './namespaces.ts'

const COUNT = 3
const HTTP_PORT = 9091
const GRPC_PORT = 9190
const START_MS_MAX = 60_000
const RUN_MS_MAX = 300_000
const START = fileURLToPath(new URL('../../scripts/start.mjs', import.meta.url))

interface Host {
  readonly child: ChildProcess
  readonly exited: Promise<void>
}

const directory = mkdtempSync(join(tmpdir(), 'waiter-bench-hosts-'))
const hosts = createHosts(COUNT)
const running = new Map<number, Host>()
const deadline = setTimeout(() => process.exit(1), RUN_MS_MAX)
process.on('exit', () => {
  for (const { child } of running.values()) if (child.pid !== undefined) killGroup(child.pid)
  hosts.remove()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const result = await measure(hosts)
for (const { child, exited } of running.values()) {
  child.kill('SIGINT')
  await within(exited, 'a host to stop', { timeoutMs: START_MS_MAX })
}
running.clear()
clearTimeout(deadline)
console.log(JSON.stringify(result))

async function measure({ addresses, cut, heal }: Hosts): Promise<Record<string, unknown>> {
  await start(0, [])
  const joinedMs: number[] = []
  for (const host of [1, 2]) {
    const beganMs = performance.now()
    await start(host, [
      '--join',
      `${addresses[0]}:${GRPC_PORT}`,
      '--secret-file',
      join(directory, '0', 'cluster-secret'),
    ])
    joinedMs.push(Math.round(performance.now() - beganMs))
  }
  await untilVoters(0)
  await write(0, 'first')

  const leader = await leaderOf(0)
  const others = [0, 1, 2].filter(host => host !== leader)
  const [witness = 0] = others
  cut(leader)
  const cutMs = performance.now()
  await untilWritten(witness, 'while-cut')
  const writableAfterCutMs = Math.round(performance.now() - cutMs)
  const refused = await writeOnce(leader, 'refused')
  const readAtCutOff = await request({ host: addresses[leader] as string, port: HTTP_PORT, path: '/token?token=first' })
  heal(leader)
  const healedMs = performance.now()
  await untilKnown(leader, 'while-cut')
  const caughtUpAfterHealMs = Math.round(performance.now() - healedMs)
  await write(leader, 'after-heal')

  const next = await leaderOf(witness)
  const survivor = [0, 1, 2].find(host => host !== next) ?? 0
  const victim = running.get(next)
  if (victim?.child.pid !== undefined) killGroup(victim.child.pid)
  const killedMs = performance.now()
  await untilWritten(survivor, 'while-dead')
  const writableAfterKillMs = Math.round(performance.now() - killedMs)
  await start(next, [])
  await untilKnown(next, 'while-dead')
  await untilVoters(survivor)
  return {
    ...{ hosts: COUNT, joinedMs, writableAfterCutMs, caughtUpAfterHealMs, writableAfterKillMs },
    cutOff: { write: refused.status, writeCode: codeOf(refused), read: readAtCutOff.status },
  }
}

async function start(host: number, more: readonly string[]): Promise<void> {
  const where = ['--host', hosts.addresses[host] as string, '--advertise', hosts.addresses[host] as string]
  const own = ['--nodes', '1', '--workers', '1', '--name', `h${host}`, '--data-dir', join(directory, String(host))]
  const [command, words] = hosts.command(host, [process.execPath, START, '--json', ...where, ...own, ...more])
  const child = spawn(command, words, { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const exited = new Promise<void>(resolve => child.once('close', () => resolve()))
  running.set(host, { child, exited })
  const ready = new Promise<void>(resolve => child.stdout?.once('data', () => resolve()))
  const died = exited.then(() => Promise.reject(new Error(`host ${host} did not start`)))
  await within(Promise.race([ready, died]), `host ${host} to be ready`, { timeoutMs: START_MS_MAX })
}

function writeOnce(host: number, token: string): Promise<TestResponse> {
  return request({
    ...{ host: hosts.addresses[host] as string, port: HTTP_PORT, method: 'POST', path: `/token?token=${token}` },
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ cmd: 'true', cpus: 1, mem: 64, version: '1' }),
    signal: AbortSignal.timeout(START_MS_MAX),
  })
}

async function write(host: number, token: string): Promise<void> {
  const answer = await writeOnce(host, token)
  if (answer.status !== 200)
    throw new Error(`writing ${token} at host ${host} was answered ${answer.status}: ${answer.text}`)
}

async function untilWritten(host: number, token: string): Promise<void> {
  const attempt = async (): Promise<true | undefined> =>
    (await writeOnce(host, token)).status === 200 ? true : undefined
  await eventually(attempt, `${token} to be written at host ${host}`)
}

async function untilKnown(host: number, token: string): Promise<void> {
  await eventually(async () => {
    const answer = await read(host, `/token?token=${token}`)
    return answer.status === 200 ? true : undefined
  }, `host ${host} to know ${token}`)
}

async function untilVoters(host: number): Promise<void> {
  await eventually(async () => {
    const { members } = JSON.parse((await read(host, '/cluster/members')).text)
    const voters = members.filter((member: Record<string, unknown>) => member['role'] === 'voter' && member['active?'])
    return voters.length === COUNT || undefined
  }, 'all hosts to vote')
}

async function leaderOf(host: number): Promise<number> {
  const { leader } = JSON.parse((await read(host, '/cluster/members')).text)
  return Number(/^h(\d)-/.exec(leader)?.[1])
}

function read(host: number, path: string): Promise<TestResponse> {
  const signal = AbortSignal.timeout(START_MS_MAX)
  return request({ host: hosts.addresses[host] as string, port: HTTP_PORT, path, signal })
}

function codeOf(answer: TestResponse): unknown {
  return JSON.parse(answer.text)['waiter-error']?.details?.code
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}
