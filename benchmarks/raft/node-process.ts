/** One member as a process of its own. Started by `raft-ts-cluster.ts`; talks to it over the IPC channel. */
import { encodeCommand, type KeyValueResult } from '../../packages/raft-ts/src/index.ts'
import {
  createIntervalTicker,
  KeyValueStateMachine,
  openWal,
  type PeerAddress,
  RaftNode,
  TcpTransport,
} from '../../packages/raft-ts/src/node/index.ts'
import { GrpcTransport } from './grpc-transport.ts'
import { driveLoad, type Load, type Round } from './load.ts'
import { servePut } from './put-server.ts'

/** What the process is told as its only argument, in JSON. */
export interface NodeProcessOptions {
  readonly id: number
  readonly directory: string
  readonly transport: 'grpc' | 'tcp'
  readonly clientPort: number
  readonly ports: Readonly<Record<string, number>>
  readonly tickMs: number
  readonly electionTicks: number
}

/** What the process tells. Times are milliseconds since the epoch, with fractions. */
export type NodeProcessReport =
  | { readonly kind: 'started'; readonly atMs: number }
  | { readonly kind: 'leader'; readonly leader: number; readonly atMs: number }
  | { readonly kind: 'load'; readonly round: Round }
  | { readonly kind: 'ended'; readonly why: string }

const HOST = '127.0.0.1'
const options = JSON.parse(process.argv[2] ?? '{}') as NodeProcessOptions
const nowMs = (): number => performance.timeOrigin + performance.now()
const report = (message: NodeProcessReport): void => void process.send?.(message)

const peers = new Map<number, PeerAddress>()
for (const [id, port] of Object.entries(options.ports)) {
  if (Number(id) !== options.id) peers.set(Number(id), { host: HOST, port })
}
const listen = { host: HOST, port: options.ports[options.id] ?? 0 }
const Transport = options.transport === 'grpc' ? GrpcTransport : TcpTransport
const node: RaftNode<KeyValueResult> = await RaftNode.start({
  id: options.id,
  storage: await openWal({ directory: options.directory }),
  transport: new Transport({ id: options.id, group: 'benchmark', listen, peers, security: { kind: 'trustedNetwork' } }),
  machine: new KeyValueStateMachine(),
  bootstrap: Object.keys(options.ports).map(Number),
  ticker: createIntervalTicker(options.tickMs),
  raft: { electionTicks: options.electionTicks },
  onEvent: event => {
    if (event.kind === 'leaderChanged') report({ kind: 'leader', leader: event.leader, atMs: nowMs() })
  },
})

const put = (key: string, value: string): Promise<unknown> => {
  const write = { kind: 'write', session: 0, sequence: 0, firstPending: 0, key, expected: undefined, value } as const
  return node.propose(encodeCommand(write))
}
const server = await servePut(options.clientPort, put)
process.on('message', (load: Load) => {
  driveLoad(load, put).then(
    round => report({ kind: 'load', round }),
    error => report({ kind: 'ended', why: String(error) }),
  )
})
report({ kind: 'started', atMs: nowMs() })
const stop = async (): Promise<void> => {
  server.close()
  await node.stop()
  process.exit(0)
}
process.on('SIGTERM', () => void stop())
// Whoever started it is gone.
process.on('disconnect', () => void stop())
const why = await node.ended
report({ kind: 'ended', why: why?.message ?? 'stopped' })
