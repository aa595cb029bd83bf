import { execFileSync } from 'node:child_process'

/** What a name of ours begins with; at most 15 characters with what follows. */
const PREFIX = 'wtr'
const NETWORK = '10.77.91'

/** Hosts that are network namespaces on one bridge: they share nothing but the wire, which can be cut between any two. */
export interface Hosts {
  /** Of each host, in order. */
  readonly addresses: readonly string[]
  /** How to run a program on one of them. */
  command(host: number, words: readonly string[]): readonly [string, readonly string[]]
  /** Cuts one off from the others, both ways; this process still reaches all. */
  cut(host: number): void
  heal(host: number): void
  remove(): void
}

/** Needs the rights of root and iproute2. */
export function createHosts(count: number): Hosts {
  const bridge = `${PREFIX}${process.pid}`
  const names = Array.from({ length: count }, (_, host) => `${bridge}n${host}`)
  const addresses = names.map((_, host) => `${NETWORK}.${host + 1}`)
  const remove = (): void => {
    for (const name of names) tryIp('netns', 'delete', name)
    tryIp('link', 'delete', bridge)
  }
  try {
    ip('link', 'add', bridge, 'type', 'bridge')
    ip('address', 'add', `${NETWORK}.254/24`, 'dev', bridge)
    ip('link', 'set', bridge, 'up')
    for (const [host, name] of names.entries()) {
      const [outside, inside] = [
        `${PREFIX}${process.pid % 100_000}o${host}`,
        `${PREFIX}${process.pid % 100_000}i${host}`,
      ]
      ip('netns', 'add', name)
      ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', name)
      ip('link', 'set', outside, 'master', bridge, 'up')
      ip('-n', name, 'address', 'add', `${addresses[host]}/24`, 'dev', inside)
      ip('-n', name, 'link', 'set', inside, 'up')
      ip('-n', name, 'link', 'set', 'lo', 'up')
    }
  } catch (error) {
    remove()
    throw error
  }
  const change = (host: number, verb: 'add' | 'delete'): void => {
    for (const [other, name] of names.entries()) {
      if (other === host) continue
      ip('-n', name, 'route', verb, 'blackhole', `${addresses[host]}/32`)
      ip('-n', names[host] as string, 'route', verb, 'blackhole', `${addresses[other]}/32`)
    }
  }
  return {
    addresses,
    command: (host, words) => ['ip', ['netns', 'exec', names[host] as string, ...words]],
    cut: host => change(host, 'add'),
    heal: host => change(host, 'delete'),
    remove,
  }
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] })
}

function tryIp(...words: string[]): void {
  try {
    ip(...words)
  } catch {
    // Was never made, or is gone.
  }
}
