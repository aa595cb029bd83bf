import { WaiterError } from '@waiter/base'
import type { MembersView } from '@waiter/control'
import { z } from 'zod'
import { type ApiParts, requireAdministrator } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { text } from './contract/query.ts'

/** The control nodes, as the API needs them. */
export interface ClusterLink {
  members(): Promise<MembersView>
  transferLeader(nodeId: string): Promise<void>
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
    }),
  ),
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
      description: 'Only the leader knows how far the others are; without one, a control node tells what it knows.',
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
      if (node === undefined || node === '')
        throw new WaiterError('The query parameter node is missing', { code: 'WTR_BAD_REQUEST', status: 400 })
      await link().transferLeader(node)
      return call.json({ leader: node })
    },
  )
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
    })),
  }
}
