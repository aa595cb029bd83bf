import { WaiterError } from '@waiter/base'
import type { InstanceSignal } from '@waiter/control'
import { z } from 'zod'
import { askRouters, type GoalState } from '../cluster/questions.ts'
import { type ApiParts, answer, leaderOf, requireManager } from './api-context.ts'
import { findService } from './apps.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { badRequest, flag, integer } from './contract/query.ts'

/** Longest that requests may go on on an instance that somebody wants stopped. */
const DRAIN_TIMEOUT_MS_MAX = 3_600_000
const AWAIT_TIMEOUT_MS_MAX = 300_000
/** A question needs a moment to get there and back. */
const ROUND_TRIP_MS = 1_000

const TAG = 'instances'
const signalSchema = z.strictObject({
  'signal-response': z.strictObject({ message: z.string(), success: z.boolean() }),
})

/** `/apps/:id/instance/:iid/{expire,kill}` and `/apps/:id/await/:goal-state` (spec §4.1). */
export function addInstanceRoutes(endpoints: Endpoints, parts: ApiParts): void {
  const timeout = integer('timeout', 'Milliseconds that what runs there may go on.', DRAIN_TIMEOUT_MS_MAX)

  const signal = async (call: Parameters<typeof answer>[0], wanted: InstanceSignal): Promise<Response> => {
    const service = await findService(parts, wanted.serviceId)
    requireManager(call, parts, service.definition.effective['run-as-user'])
    const { isFound } = await leaderOf(parts).signalInstance(wanted)
    const message = isFound
      ? `${wanted.kind} successfully sent to ${wanted.instanceId}`
      : `${wanted.instanceId} is no instance that runs`
    return answer(call, isFound ? 200 : 404, { 'signal-response': { message, success: isFound } })
  }

  endpoints.add(
    {
      method: 'post',
      path: '/apps/:id/instance/:iid/expire',
      summary: 'Replace an instance: a new one starts, then this one stops',
      tag: TAG,
      access: 'user',
      query: { timeout },
      answers: {
        200: { description: 'It is under way.', json: signalSchema },
        404: { description: 'No such instance runs.', json: signalSchema },
      },
    },
    ({ call, param }) =>
      signal(call, { serviceId: param('id'), instanceId: param('iid'), kind: 'expire', drainTimeoutMs: 0 }),
  )

  endpoints.add(
    {
      method: 'post',
      path: '/apps/:id/instance/:iid/kill',
      summary: 'Stop an instance: after what runs there, or with `force` at once',
      tag: TAG,
      access: 'user',
      query: { timeout, force: flag('Stop it at once.') },
      answers: {
        200: { description: 'It is under way.', json: signalSchema },
        404: { description: 'No such instance runs.', json: signalSchema },
      },
    },
    ({ call, query, param }) =>
      signal(call, {
        serviceId: param('id'),
        instanceId: param('iid'),
        kind: query.force ? 'force-kill' : 'soft-kill',
        drainTimeoutMs: query.timeout ?? 0,
      }),
  )
  addAwait(endpoints, parts)
}

function addAwait(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/apps/:id/await/:goal-state',
      summary: 'Wait until every router knows that a service is deleted, exists or is healthy',
      tag: TAG,
      access: 'user',
      query: {
        timeout: integer('timeout', 'Milliseconds to wait at most; required.', AWAIT_TIMEOUT_MS_MAX),
        'sleep-duration': integer('sleep-duration', 'Accepted for compatibility: nothing is polled here.'),
      },
      answers: {
        200: {
          description: 'What came of it; also when time was up.',
          json: z.strictObject({
            'goal-state': z.enum(['deleted', 'exist', 'healthy']),
            'goal-success?': z.boolean(),
            'service-exists?': z.boolean(),
            'service-healthy?': z.boolean(),
            'service-id': z.string(),
          }),
        },
      },
    },
    async ({ call, query, param }) => {
      const goal = param('goal-state')
      if (!isGoal(goal)) throw badRequest('The goal state must be deleted, exist or healthy', { 'goal-state': goal })
      if (query.timeout === undefined) throw badRequest('timeout must be an integer: how many milliseconds to wait')
      const serviceId = param('id')
      const argument = { serviceId, goal, timeoutMs: query.timeout }
      const asked = await askRouters(leaderOf(parts), 'await', argument, query.timeout + ROUND_TRIP_MS)
      const answers = [...asked.answers.values()]
      if (answers.length === 0)
        throw new WaiterError('no router answers', { code: 'WTR_NO_ROUTER', status: 503, retryable: true })
      return call.json({
        'goal-state': goal,
        'goal-success?': asked.silentRouterIds.length === 0 && answers.every(({ isReached }) => isReached),
        'service-exists?': answers.some(({ exists }) => exists),
        'service-healthy?': answers.every(({ isHealthy }) => isHealthy),
        'service-id': serviceId,
      })
    },
  )
}

function isGoal(text: string): text is GoalState {
  return text === 'deleted' || text === 'exist' || text === 'healthy'
}
