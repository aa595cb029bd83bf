import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'
import { freePorts } from './ports.ts'
import { PutClient } from './put-client.ts'

const NAMES = ['one', 'two', 'three'] as const
const WAIT_MS_MAX = 20_000

/** Etcd's version; undefined when it is not installed. */
export function etcdVersion(): string | undefined {
  const { status, stdout } = spawnSync('etcd', ['--version'], { encoding: 'utf8' })
  return status === 0 ? /etcd Version: (\S+)/.exec(stdout)?.[1] : undefined
}

/** Three processes of Debian's etcd with its own defaults: fsync on, heartbeat 100 ms, election 1000 ms. */
export class EtcdCluster implements Cluster {
  readonly name: string
  readonly #processes: readonly ChildProcess[]
  readonly #addresses: readonly string[]

  private constructor(name: string, processes: readonly ChildProcess[], addresses: readonly string[]) {
    this.name = name
    this.#processes = processes
    this.#addresses = addresses
  }

  static async start(directory: string): Promise<EtcdCluster> {
    const ports = await freePorts(2 * NAMES.length)
    const peerUrl = (at: number): string => `http://127.0.0.1:${ports[at]}`
    const clientUrl = (at: number): string => `http://127.0.0.1:${ports[NAMES.length + at]}`
    const members = NAMES.map((name, at) => `${name}=${peerUrl(at)}`).join(',')
    const processes = NAMES.map((name, at) => {
      const flags = {
        name,
        'data-dir': join(directory, `etcd-${name}`),
        'listen-peer-urls': peerUrl(at),
        'initial-advertise-peer-urls': peerUrl(at),
        'listen-client-urls': clientUrl(at),
        'advertise-client-urls': clientUrl(at),
        'initial-cluster': members,
        'initial-cluster-state': 'new',
        'log-level': 'error',
        logger: 'zap',
      }
      const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)
      return spawn('etcd', args, { stdio: 'ignore' })
    })
    const addresses = NAMES.map((_, at) => clientUrl(at).slice('http://'.length))
    const cluster = new EtcdCluster(`etcd ${etcdVersion()}`, processes, addresses)
    await cluster.leaderAddress()
    return cluster
  }

  async leaderAddress(): Promise<string> {
    const deadline = performance.now() + WAIT_MS_MAX
    while (performance.now() < deadline) {
      for (const address of this.#addresses) {
        const client = new PutClient(address)
        const isLeader = await client.isLeader().catch(() => false)
        client.close()
        if (isLeader) return address
      }
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    throw new Error(`etcd: no leader after ${WAIT_MS_MAX} ms`)
  }

  async stop(): Promise<void> {
    for (const process of this.#processes) {
      if (process.exitCode !== null || process.signalCode !== null) continue
      const exited = once(process, 'exit')
      process.kill('SIGKILL')
      await exited
    }
  }
}
