import { z } from 'zod'
import { askRouters } from '../cluster/questions.ts'
import { type ApiParts, requireAdministrator } from './api-context.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { flag, integer } from './contract/query.ts'

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
      description: 'Requests are served as before. It lasts until the router process ends.',
      tag: 'operations',
      access: 'administrator',
      query: {
        'drain-timeout-secs': integer('drain-timeout-secs', 'Until a `crash`; 120 when absent.', DRAIN_SECS_MAX),
        crash: flag('End the router process when the time is over; its node starts a fresh one.'),
      },
      answers: { 200: { description: 'It drains.', json: drainSchema } },
    },
    async ({ call, query }) => {
      requireAdministrator(call, parts)
      const timeoutMs = (query['drain-timeout-secs'] ?? DRAIN_SECS_DEFAULT) * MS_PER_SECOND
      const wanted = { timeoutMs, isCrash: query.crash }
      drain.begin(wanted)
      const link = parts.leader()
      // Other workers of this node share its port. Without a leader they are not reached: say so by their absence.
      const told = await (link === undefined
        ? undefined
        : askRouters(link, 'drain', { nodeId: options.nodeId, ...wanted }, TELL_TIMEOUT_MS).catch(() => undefined))
      const count = told === undefined ? 1 : [...told.answers.values()].filter(isOurs => isOurs).length
      return call.json(state(`Draining: ${count} router process(es) of this node.`))
    },
  )
}
