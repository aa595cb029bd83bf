/** One member as a process of its own. Started by `member.ts`; serves clients over HTTP and tells its parent how it is. */
import { createServer } from 'node:http'
import { join } from 'node:path'
import type { Applied, NodeId } from '../../index.ts'
import { encodeCommand } from '../../index.ts'
import { RaftNodeError } from '../errors.ts'
import { RaftNode } from '../raft-node.ts'
import type { PeerAddress } from '../transport/tcp-options.ts'
import { TcpTransport } from '../transport/tcp-transport.ts'
import { openWal } from '../wal/wal-log-storage.ts'
import { Ledger, LedgeredMap, type MemberRequest } from './ledger.ts'
import type { Plant } from './plants.ts'
import { createVolatileFileSystem } from './volatile-file-system.ts'

/** What the process is told as its only argument, in JSON. */
export interface MemberOptions {
  readonly id: NodeId
  readonly members: readonly NodeId[]
  readonly directory: string
  /** Where it finds the others: a proxy for each. */
  readonly peers: readonly (readonly [NodeId, PeerAddress])[]
  /** In hexadecimal digits. */
  readonly groupKey: string
  /** Counts the starts of this member. */
  readonly life: number
  readonly plant: Plant | undefined
}

/** What the process tells its parent. */
export type MemberReport =
  | { readonly kind: 'started'; readonly raftPort: number; readonly clientPort: number }
  | { readonly kind: 'leader'; readonly leader: NodeId }
  | { readonly kind: 'snapshotReceived' }
  | { readonly kind: 'failed'; readonly why: string }

const HOST = '127.0.0.1'
const BODY_BYTES_MAX = 64 * 1024
/** Small, so that files, snapshots and compaction come often. */
const SEGMENT_BYTES_MAX = 256 * 1024
const LIMITS = { snapshotEveryEntries: 500, trailingEntries: 50, requestTimeoutMs: 3000 }

const options = JSON.parse(process.argv[2] ?? '{}') as MemberOptions
const report = (message: MemberReport): void => void process.send?.(message)
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))

const ledger = new Ledger(join(options.directory, `life-${options.life}.ledger`))
const machine = new LedgeredMap(ledger, options.plant !== 'no-sessions')
const fileSystem = createVolatileFileSystem({ syncsForReal: options.plant !== 'no-sync' })
const transport = new TcpTransport({
  id: options.id,
  group: 'chaos',
  security: { kind: 'sharedKey', key: Buffer.from(options.groupKey, 'hex') },
  listen: { host: HOST, port: 0 },
  peers: new Map(options.peers),
  limits: { silentMsMax: 1000 },
})
const node: RaftNode<Applied> = await RaftNode.start({
  id: options.id,
  storage: await openWal({
    directory: join(options.directory, 'wal'),
    fileSystem,
    segmentBytesMax: SEGMENT_BYTES_MAX,
  }),
  transport,
  machine,
  bootstrap: options.members,
  limits: LIMITS,
  onEvent: event => {
    if (event.kind === 'leaderChanged') report({ kind: 'leader', leader: event.leader })
    else if (event.kind === 'snapshotReceived') report({ kind: 'snapshotReceived' })
    else if (event.kind === 'core' && event.event.kind === 'roleChanged' && event.event.role === 'leader') {
      ledger.write({ kind: 'led', term: event.event.term })
    }
  },
})

async function answer(request: MemberRequest): Promise<object> {
  switch (request.kind) {
    case 'read': {
      if (options.plant !== 'local-reads') await node.read()
      const entry = machine.map.get(request.key)
      return { kind: 'value', version: entry?.version ?? 0, value: entry?.value, index: machine.map.applied }
    }
    case 'command': {
      const { index, result } = await node.propose(encodeCommand(request.command))
      return { kind: 'applied', index, result: result.result }
    }
    case 'dump': {
      const entries = machine.map.list('').map(({ key, version, value }) => [key, version, value])
      return { kind: 'dump', applied: machine.map.applied, digest: machine.map.digest, leader: node.leader, entries }
    }
    case 'transfer':
      await node.transferLeader(request.to, { timeoutMs: 1000 })
      return { kind: 'done' }
  }
}

const server = createServer((request, response) => {
  const pieces: Buffer[] = []
  let bytes = 0
  request.on('error', () => request.destroy())
  request.on('data', (piece: Buffer) => {
    bytes += piece.length
    if (bytes > BODY_BYTES_MAX) request.destroy()
    else pieces.push(piece)
  })
  request.on('end', () => {
    const send = (value: object): void => void response.end(JSON.stringify(value))
    answer(JSON.parse(Buffer.concat(pieces).toString()) as MemberRequest).then(send, (error: unknown) => {
      if (error instanceof RaftNodeError) send({ kind: 'failed', code: error.code, leader: error.leader })
      else process.nextTick(() => Promise.reject(error))
    })
  })
})
server.listen(0, HOST, () => {
  const address = server.address()
  const clientPort = typeof address === 'object' && address !== null ? address.port : 0
  report({ kind: 'started', raftPort: transport.port, clientPort })
})
const end = await node.ended
report({ kind: 'failed', why: end?.message ?? 'stopped' })
