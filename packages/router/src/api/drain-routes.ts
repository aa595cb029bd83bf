import { WaiterError } from '@waiter/base'
import { z } from 'zod'
import { askRouters } from '../cluster/questions.ts'
import { type ApiParts, leaderOf, requireAdministrator } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { flag, integer, text } from './contract/query.ts'

const DRAIN_SECS_DEFAULT = 120
const DRAIN_SECS_MAX = 86_400
const MS_PER_SECOND = 1_000
/** Workers of the node answer at once. */
const TELL_TIMEOUT_MS = 2_000

const drainSchema = z.strictObject({
  'drain-mode?': z.boolean(),
  result: z.string(),
  since: z.string().optional(),
})

/** `/drain` (spec §4.1): this node asks load balancers to look elsewhere; what comes all the same is served. */
export function addDrainRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const { drain, options } = parts
  const state = (result: string): Record<string, unknown> => ({
    'drain-mode?': drain.since !== undefined,
    result,
    ...(drain.since === undefined ? {} : { since: drain.since }),
  })
  const drainOther = async (
    nodeId: string,
    wanted: { readonly timeoutMs: number; readonly isCrash: boolean },
  ): Promise<Record<string, unknown>> => {
    const count = countOf(await askRouters(leaderOf(parts), 'drain', { nodeId, ...wanted }, TELL_TIMEOUT_MS))
    if (count === 0) throw noRouterOf(nodeId)
    return { 'drain-mode?': true, result: `Draining: ${count} router process(es) of ${nodeId}.` }
  }
  endpoints.add(
    {
      method: 'get',
      path: '/drain',
      summary: 'Is this node draining?',
      tag: 'operations',
      access: 'user',
      answers: { 200: { description: 'Whether, and since when.', json: drainSchema } },
    },
    ({ call }) => call.json(state(drain.since === undefined ? 'Router is serving.' : 'Router is in drain mode.')),
  )
  endpoints.add(
    {
      method: 'post',
      path: '/drain',
      summary: 'Drain this node: `/status` answers 503 from now on',
      description:
        'Its routers get no slots of their own any more; what comes all the same is served with slots that others lend. It lasts until `/undrain`, or until the router process ends. When all nodes of a host drain, and others do not, what runs on that host is started on others, then stopped there.',
      tag: 'operations',
      access: 'administrator',
      query: {
        node: text('Another node; this one when absent.'),
        'drain-timeout-secs': integer('drain-timeout-secs', 'Until a `crash`; 120 when absent.', DRAIN_SECS_MAX),
        crash: flag('End the router process when the time is over; its node starts a fresh one.'),
      },
      answers: { 200: { description: 'It drains.', json: drainSchema } },
    },
    async ({ call, query }) => {
      requireAdministrator(call, parts)
      const timeoutMs = (query['drain-timeout-secs'] ?? DRAIN_SECS_DEFAULT) * MS_PER_SECOND
      const wanted = { timeoutMs, isCrash: query.crash }
      const nodeId = query.node ?? options.nodeId
      if (nodeId !== options.nodeId) return call.json(await drainOther(nodeId, wanted))
      drain.begin(wanted)
      const link = parts.leader()
      // Other workers of this node share its port. Without a leader they are not reached: say so by their absence.
      const told = await (link === undefined
        ? undefined
        : askRouters(link, 'drain', { nodeId: options.nodeId, ...wanted }, TELL_TIMEOUT_MS).catch(() => undefined))
      const count = told === undefined ? 1 : countOf(told)
      return call.json(state(`Draining: ${count} router process(es) of this node.`))
    },
  )
  endpoints.add(
    {
      method: 'post',
      path: '/undrain',
      summary: 'A node that drains serves again',
      tag: 'operations',
      access: 'administrator',
      query: { node: text('Another node; this one when absent.') },
      answers: { 200: { description: 'It serves.', json: drainSchema } },
    },
    async ({ call, query }) => {
      requireAdministrator(call, parts)
      const nodeId = query.node ?? options.nodeId
      const link = nodeId === options.nodeId ? parts.leader() : leaderOf(parts)
      if (nodeId === options.nodeId) drain.end()
      const told = link && askRouters(link, 'undrain', { nodeId }, TELL_TIMEOUT_MS)
      const count = nodeId === options.nodeId ? countOf(await told?.catch(() => undefined), 1) : countOf(await told)
      if (count === 0) throw noRouterOf(nodeId)
      return call.json({ 'drain-mode?': false, result: `Serving again: ${count} router process(es) of ${nodeId}.` })
    },
  )
}

/** Routers that said that they are meant. */
function countOf(told: { readonly answers: ReadonlyMap<string, boolean> } | undefined, atLeast = 0): number {
  return Math.max(atLeast, [...(told?.answers.values() ?? [])].filter(isTheirs => isTheirs).length)
}

function noRouterOf(nodeId: string): WaiterError {
  return new WaiterError(
    `No router of a node ${nodeId} answers: nodes are called as in waiter cluster members, or node in /state; routers of a ` +
      'host that is away cannot be told',
    { code: 'WTR_NO_SUCH_NODE', status: 404 },
  )
}
