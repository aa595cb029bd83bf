import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPrng, type Prng } from '@waiter/base'
import type { NodeId } from '../../index.ts'
import { ChaosClient, type ClientOperation } from './client.ts'
import { injectFaults, NETWORK_FAULTS, PROCESS_FAULTS, pause, type Stage } from './faults.ts'
import { type Dump, judge, type Verdict } from './judge.ts'
import { LinkProxy } from './link-proxy.ts'
import { Member } from './member.ts'
import type { Plant } from './plants.ts'

/** How a run is made. */
export interface ChaosOptions {
  readonly seconds: number
  /** Decides which faults come and what clients do; not what comes of it, since time is real. */
  readonly seed: number
  readonly clients?: number
  readonly plant?: Plant
  /** Told once in a while how it goes. */
  readonly onProgress?: (line: string) => void
  /** Ends the run early, in order. */
  readonly signal?: AbortSignal
}

/** What came of a run. */
export interface ChaosReport extends Verdict {
  readonly seed: number
  readonly seconds: number
  readonly reads: number
  readonly writes: number
  readonly conflicts: number
  /** Writes whose end no client learnt. */
  readonly unknown: number
  readonly faults: Readonly<Record<string, number>>
  readonly kills: number
  readonly snapshotsInstalled: number
  /** From the moment everything was healed until all members were equal and wrote again. */
  readonly healedMs: number
}

const IDS: readonly NodeId[] = [1, 2, 3]
const CLIENTS = 8
const PARTS_MAX = 1000
const PROGRESS_MS = 15_000
/** Healed members that are not equal by then never will be. */
const HEAL_MS_MAX = 60_000
const DUMP_MS_MAX = 5000
const HEAL_POLL_MS = 50

/**
 * Three real processes with write-ahead logs, real sockets and real time, under kill -9, SIGSTOP, partitions and load;
 * then everything is healed, and what was written down is judged.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const directory = mkdtempSync(join(tmpdir(), 'raft-chaos-'))
  const arena = await Arena.open(directory, options.plant)
  // Whatever ends this process, its children end too.
  const killAll = (): void => arena.killNow()
  process.on('exit', killAll)
  try {
    return await fight(arena, options)
  } finally {
    await arena.close()
    process.off('exit', killAll)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function fight(arena: Arena, options: ChaosOptions): Promise<ChaosReport> {
  const { seconds, seed, onProgress = () => undefined } = options
  // One source of chance for each, so that a draw more in one place shifts no other.
  const randomOf = (part: number): Prng => createPrng(seed * PARTS_MAX + part)
  const operations: ClientOperation[] = []
  const faults: Record<string, number> = {}
  const onBegin = (name: string): void => {
    faults[name] = (faults[name] ?? 0) + 1
  }
  const clients = Array.from({ length: options.clients ?? CLIENTS }, (_, name) => {
    return new ChaosClient({ name: name + 1, members: arena.members, random: randomOf(2 + name) }, operations)
  })
  const faultsEnd = new AbortController()
  const signals = [faultsEnd.signal, ...(options.signal === undefined ? [] : [options.signal])]
  const signal = AbortSignal.any([...signals, arena.failed])
  const clientsEnd = new AbortController()
  const timer = setTimeout(() => faultsEnd.abort(), seconds * 1000)
  const progress = setInterval(
    () => onProgress(`${operations.length} operations, faults: ${countsOf(faults)}`),
    PROGRESS_MS,
  )
  const working = clients.map(client => client.run(clientsEnd.signal))
  const stage: Stage = arena
  const startedMs = performance.now()
  await Promise.all([
    injectFaults(PROCESS_FAULTS, { stage, random: randomOf(0), signal, onBegin }),
    injectFaults(NETWORK_FAULTS, { stage, random: randomOf(1), signal, onBegin }),
    pause(seconds * 1000, signal),
  ])
  clearTimeout(timer)
  clearInterval(progress)
  const ranMs = performance.now() - startedMs
  clientsEnd.abort()
  await Promise.all(working)
  const healed = await arena.heal(clients)
  await arena.killAll()
  const ledgers = arena.members.flatMap(member => member.ledgers().map(lines => ({ member: member.id, lines })))
  const verdict = judge({ ledgers, operations, dumps: healed.dumps })
  const count = (kind: ClientOperation['action']['kind']): number =>
    operations.filter(({ action }) => action.kind === kind).length
  return {
    ...verdict,
    violations: [...arena.failures, ...healed.failures, ...verdict.violations],
    seed,
    seconds: Math.round(ranMs / 1000),
    reads: count('read'),
    writes: count('write'),
    conflicts: count('conflict'),
    unknown: count('unknown'),
    faults,
    kills: arena.members.reduce((sum, { lives }) => sum + lives - 1, 0),
    snapshotsInstalled: arena.members.reduce((sum, { snapshotsReceived }) => sum + snapshotsReceived, 0),
    healedMs: Math.round(healed.tookMs),
  }
}

/** The members and the links between them. */
class Arena implements Stage {
  readonly members: Member[] = []
  readonly failures: string[] = []
  readonly #links = new Map<string, LinkProxy>()
  readonly #failed = new AbortController()

  static async open(directory: string, plant: Plant | undefined): Promise<Arena> {
    const arena = new Arena()
    for (const from of IDS) {
      for (const to of IDS) if (from !== to) arena.#links.set(`${from}>${to}`, await LinkProxy.open())
    }
    const groupKey = randomBytes(32).toString('hex')
    for (const id of IDS) {
      const peers = IDS.filter(to => to !== id).map(
        to => [to, { host: '127.0.0.1', port: arena.link(id, to).port }] as const,
      )
      const onPort = (port: number | undefined): void => {
        for (const from of IDS) if (from !== id) arena.link(from, id).targetPort = port
      }
      const onFailure = (why: string): void => {
        arena.failures.push(why)
        arena.#failed.abort()
      }
      const own = { id, members: IDS, directory: join(directory, String(id)), peers, plant, groupKey }
      arena.members.push(new Member(own, { onPort, onFailure }))
    }
    await Promise.all(arena.members.map(member => member.start()))
    return arena
  }

  /** Aborted when a member ended that was not told to: there is nothing left to learn. */
  get failed(): AbortSignal {
    return this.#failed.signal
  }

  link(from: NodeId, to: NodeId): LinkProxy {
    return this.#links.get(`${from}>${to}`)!
  }

  /** Ends all faults; waits until all members are equal and every client can write. */
  async heal(clients: readonly ChaosClient[]) {
    const startedMs = performance.now()
    for (const link of this.#links.values()) link.set({ kind: 'open' })
    for (const member of this.members) if (member.isPaused) member.resume()
    await Promise.all(this.members.map(member => member.start()))
    const failures: string[] = []
    const hasTime = (): boolean => performance.now() - startedMs < HEAL_MS_MAX && !this.failed.aborted
    for (const [at, client] of clients.entries()) {
      while (!(await client.writeOnce(`last.${at}`)) && hasTime());
    }
    let dumps: readonly Dump[] = []
    do {
      await new Promise(resolve => setTimeout(resolve, HEAL_POLL_MS))
      dumps = await this.#dumps()
    } while (!areEqual(dumps) && hasTime())
    if (!areEqual(dumps) && !this.failed.aborted)
      failures.push(`the members were not equal ${HEAL_MS_MAX} ms after everything was healed`)
    // What a run that was given up has come to says nothing.
    if (this.failed.aborted) dumps = []
    return { dumps, failures, tookMs: performance.now() - startedMs }
  }

  async killAll(): Promise<void> {
    await Promise.all(this.members.map(member => member.end()))
  }

  killNow(): void {
    for (const member of this.members) void member.kill()
  }

  async close(): Promise<void> {
    await this.killAll()
    for (const link of this.#links.values()) await link.close()
  }

  async #dumps(): Promise<readonly Dump[]> {
    const asked = this.members.map(async member => {
      const dump = (await member.ask({ kind: 'dump' }, DUMP_MS_MAX).catch(() => undefined)) as Dump | undefined
      return dump === undefined ? [] : [{ ...dump, member: member.id }]
    })
    return (await Promise.all(asked)).flat()
  }
}

function areEqual(dumps: readonly Dump[]): boolean {
  return dumps.length === IDS.length && new Set(dumps.map(({ applied, digest }) => `${applied} ${digest}`)).size === 1
}

function countsOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
}
