import { WaiterError } from '@waiter/base'
import type { MembersView } from '@waiter/control'
import { z } from 'zod'
import { askRouters } from '../cluster/questions.ts'
import { restoreSnapshot, takeSnapshot } from '../cluster/snapshots.ts'
import { type ApiParts, requireAdministrator } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { flag, text } from './contract/query.ts'

/** Routers of a node answer at once. */
const TELL_TIMEOUT_MS = 2_000

/** The control nodes, as the API needs them. */
export interface ClusterLink {
  members(): Promise<MembersView>
  transferLeader(nodeId: string): Promise<void>
  /** Resolves when it is noted. */
  leave(nodeId: string, force: boolean): Promise<void>
}

const membersSchema: z.ZodType<Readonly<Record<string, unknown>>> = z.strictObject({
  'answered-by': z.string(),
  term: z.int(),
  leader: z.string().nullable(),
  'commit-index': z.int(),
  'applied-index': z.int(),
  members: z.array(
    z.strictObject({
      id: z.int(),
      node: z.string(),
      host: z.string(),
      address: z.string(),
      role: z.enum(['voter', 'learner', 'leaving']),
      'leader?': z.boolean(),
      'active?': z.boolean(),
      'match-index': z.int(),
      release: z.string(),
      'leaving?': z.boolean(),
      'silent-ms': z.int(),
    }),
  ),
  hosts: z.array(
    z.strictObject({
      host: z.string(),
      contact: z.enum(['up', 'lost', 'given-up']),
      'drains?': z.boolean(),
      'left?': z.boolean(),
      instances: z.int(),
    }),
  ),
  routers: z.array(z.strictObject({ id: z.string(), node: z.string(), url: z.string(), 'drains?': z.boolean() })),
})

/** `/cluster/…`: the control nodes, which keep tokens and elect the leader. */
export function addClusterRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const link = (): ClusterLink => {
    const { cluster } = parts.options
    if (cluster !== undefined) return cluster
    throw new WaiterError('this router knows no control nodes', { code: 'WTR_CONTROL_UNREACHABLE', status: 503 })
  }
  endpoints.add(
    {
      method: 'get',
      path: '/cluster/members',
      summary: 'The control nodes: who leads, who votes, how far each of them is',
      description:
        'Only the leader knows how far the others are, when they were heard, what hosts run, and which routers there are; without one, a control node tells what it knows.',
      tag: 'operations',
      access: 'user',
      answers: { 200: { description: 'As the leader sees them, or another control node.', json: membersSchema } },
    },
    async ({ call }) => call.json(renderMembers(await link().members())),
  )
  endpoints.add(
    {
      method: 'post',
      path: '/cluster/transfer-leader',
      summary: 'Let another control node lead, for example before its host is taken down',
      tag: 'operations',
      access: 'administrator',
      query: { node: text('Name of the node; it must be a voter.') },
      answers: { 200: { description: 'It leads.', json: z.strictObject({ leader: z.string() }) } },
    },
    async ({ call, query: { node } }) => {
      requireAdministrator(call, parts)
      const name = requireNode(node)
      await link().transferLeader(name)
      return call.json({ leader: name })
    },
  )
  endpoints.add(
    {
      method: 'post',
      path: '/cluster/leave',
      summary: 'Let a control node go for good',
      description:
        'Answers when it is noted. Its routers drain; the node is demoted and let go as soon as another one has taken its place; its processes ' +
        'then end by themselves. It is gone when `/cluster/members` does not list it any more. Refused when those that are ' +
        'left could not decide anything.',
      tag: 'operations',
      access: 'administrator',
      query: {
        node: text('Name of the node.'),
        force: flag('Also when it is not heard of: its host never comes back.'),
      },
      answers: {
        200: { description: 'It leaves.', json: z.strictObject({ node: z.string(), state: z.literal('leaving') }) },
      },
    },
    async ({ call, query: { node, force } }) => {
      requireAdministrator(call, parts)
      const name = requireNode(node)
      await link().leave(name, force)
      await drainRoutersOf(parts, name)
      return call.json({ node: name, state: 'leaving' })
    },
  )
}

/** Snapshots are taken and restored here; larger ones than a client takes are not expected: tokens are small. */
const SNAPSHOT_BYTES_MAX = 64 * 1024 * 1024

/** `/cluster/snapshot`, `/cluster/restore`: what people have told the cluster, as a file. */
export function addSnapshotRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const { store, version, services } = parts.options
  endpoints.add(
    {
      method: 'get',
      path: '/cluster/snapshot',
      summary: 'A checked copy of tokens, overrides and suspensions, all of one moment',
      description: 'Has what tokens have, secrets in their `env` as well.',
      tag: 'operations',
      access: 'administrator',
      answers: { 200: { description: 'The file.', media: ['application/octet-stream'] } },
    },
    async ({ call }) => {
      requireAdministrator(call, parts)
      const bytes = await takeSnapshot(store, { cluster: services.clusterName, release: version })
      return call.body(new Uint8Array(bytes), 200, { 'content-type': 'application/octet-stream' })
    },
  )
  endpoints.add(
    {
      method: 'post',
      path: '/cluster/restore',
      summary: 'Put such a copy into an empty cluster',
      description:
        'The body is the file. One that is damaged changes nothing. It takes effect all at once, or not at all, up to 12 MiB of changes; more in `pieces`, each of them so.',
      tag: 'operations',
      access: 'administrator',
      query: { force: flag('In place of what the cluster has; what the file does not have is deleted.') },
      answers: {
        200: {
          description: 'It is restored.',
          json: z.strictObject({ written: z.int(), removed: z.int(), pieces: z.int() }),
        },
      },
    },
    async ({ call, query: { force } }) => {
      requireAdministrator(call, parts)
      const bytes = await call.env.exchange.readBody(SNAPSHOT_BYTES_MAX)
      const restored = await restoreSnapshot(store, Buffer.from(bytes), force)
      parts.options.log.warn({ ...restored, force }, 'a snapshot was restored')
      return call.json({ ...restored })
    },
  )
}

/** Its routers will end when it has left: others are to take over before. Of a host that is away nobody answers. */
async function drainRoutersOf(parts: ApiParts, nodeId: string): Promise<void> {
  const leader = parts.leader()
  if (leader === undefined) return
  const argument = { nodeId, timeoutMs: 0, isCrash: false }
  await askRouters(leader, 'drain', argument, TELL_TIMEOUT_MS).catch(error =>
    parts.options.log.info({ err: error, nodeId }, 'routers of a node that leaves could not be told'),
  )
}

function requireNode(node: string | undefined): string {
  if (node !== undefined && node !== '') return node
  throw new WaiterError('The query parameter node is missing', { code: 'WTR_BAD_REQUEST', status: 400 })
}

export function renderMembers(view: MembersView): Record<string, unknown> {
  return {
    'answered-by': view.nodeId,
    term: view.term,
    leader: view.leaderId === '' ? null : view.leaderId,
    'commit-index': view.commitIndex,
    'applied-index': view.appliedIndex,
    members: view.members.map(member => ({
      id: member.id,
      node: member.nodeId,
      host: member.hostId,
      address: member.address,
      role: member.role,
      'leader?': member.leads,
      'active?': member.active,
      'match-index': member.matchIndex,
      release: member.release,
      'leaving?': member.isLeaving,
      'silent-ms': member.silentMs,
    })),
    hosts: view.hosts.map(({ hostId: host, contact, drains, isLeft, instances }) => ({
      host,
      contact,
      'drains?': drains,
      'left?': isLeft,
      instances,
    })),
    routers: view.routers.map(({ routerId: id, nodeId: node, httpUrl: url, drains }) => ({
      ...{ id, node, url },
      'drains?': drains,
    })),
  }
}
