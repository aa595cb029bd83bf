import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { eventually } from '../../packages/testkit/src/index.ts'

/** Lets the inspector of a process choose its port when it is woken; set before the process starts. */
export const INSPECTABLE = '--inspect-port=0'

/** Asks a process for its heap. */
export interface HeapProbe {
  /** Bytes in use after a full collection. */
  usedBytes(): Promise<number>
  close(): void
}

const LISTEN = '0A'

/** Wakes the inspector of a Node process that was started with `INSPECTABLE`, and talks to it. */
export async function openHeapProbe(pid: number): Promise<HeapProbe> {
  const before = new Set(listeningPorts(pid))
  process.kill(pid, 'SIGUSR1')
  const url = await eventually(async () => {
    for (const port of listeningPorts(pid).filter(one => !before.has(one))) {
      const answer = await fetch(`http://127.0.0.1:${port}/json/list`)
      const [target] = (await answer.json()) as { webSocketDebuggerUrl: string }[]
      if (target !== undefined) return target.webSocketDebuggerUrl
    }
    return undefined
  }, `the inspector of process ${pid}`)
  const socket = new WebSocket(url)
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = () => reject(new Error(`cannot talk to the inspector of process ${pid}`))
  })
  const pending = new Map<number, (result: Record<string, number>) => void>()
  let nextId = 1
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: Record<string, number> }
    if (id === undefined) return
    pending.get(id)?.(result ?? {})
    pending.delete(id)
  }
  const call = (method: string): Promise<Record<string, number>> =>
    new Promise(resolve => {
      pending.set(nextId, resolve)
      socket.send(JSON.stringify({ id: nextId++, method }))
    })
  return {
    usedBytes: async () => {
      await call('HeapProfiler.collectGarbage')
      const { usedSize = Number.NaN, backingStorageSize = 0 } = await call('Runtime.getHeapUsage')
      return usedSize + backingStorageSize
    },
    close: () => socket.close(),
  }
}

/** TCP ports of 127.0.0.1 and all addresses on which a process listens. */
function listeningPorts(pid: number): number[] {
  const inodes = new Set(descriptors(pid).flatMap(link => (link.startsWith('socket:[') ? [link.slice(8, -1)] : [])))
  return tcpRows(pid)
    .filter(({ state, inode }) => state === LISTEN && inodes.has(inode))
    .map(({ localPort }) => localPort)
}

/** What the open file descriptors of a process point to. */
export function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap(name => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`)]
    } catch {
      return []
    }
  })
}

interface TcpRow {
  readonly localPort: number
  readonly state: string
  readonly inode: string
}

function tcpRows(pid: number): TcpRow[] {
  return ['tcp', 'tcp6'].flatMap(name =>
    readFileSync(`/proc/${pid}/net/${name}`, 'utf8')
      .split('\n')
      .slice(1)
      .filter(line => line !== '')
      .map(line => {
        const [, local = '', , state = '', , , , , , inode = ''] = line.trim().split(/\s+/)
        return { localPort: Number.parseInt(local.split(':')[1] ?? '', 16), state, inode }
      }),
  )
}

const STATES: Readonly<Record<string, string>> = {
  '01': 'established',
  '02': 'syn-sent',
  '03': 'syn-received',
  '04': 'fin-wait-1',
  '05': 'fin-wait-2',
  '06': 'time-wait',
  '07': 'close',
  '08': 'close-wait',
  '09': 'last-ack',
  [LISTEN]: 'listen',
  '0B': 'closing',
}

/** How many TCP sockets of a local port are in which state. */
export function tcpStates(port: number): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { localPort, state } of tcpRows(process.pid)) {
    if (localPort !== port) continue
    const name = STATES[state] ?? state
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
