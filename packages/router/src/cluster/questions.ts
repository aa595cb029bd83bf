import type { AnswerQuestion, LeaderLink, RouterAnswers } from '@waiter/control'
import type { ServiceDescription } from '@waiter/services'
import type { AsyncRequests } from '../async/async-requests.ts'
import type { Drain } from '../drain.ts'
import type { RouterGossip } from '../gossip/router-gossip.ts'
import { renderServiceMetrics } from '../metrics/render-service.ts'
import type { ServiceTable } from '../services/service-table.ts'

/** While somebody waits for a service that this router has not heard of, the leader is asked for it this often. */
const FOLLOW_EVERY_MS = 1_000

/** What a service is waited for to be. */
export type GoalState = 'deleted' | 'exist' | 'healthy'

interface Questions {
  /** Overrides and suspension changed: read them anew. */
  refresh: { readonly argument: { readonly serviceId: string }; readonly answer: true }
  /** Wait until the service is what it is to be. */
  await: { readonly argument: AwaitArgument; readonly answer: AwaitAnswer }
  /** What this router measured of a service; null: it knows none of that name. */
  metrics: { readonly argument: { readonly serviceId: string }; readonly answer: Record<string, unknown> | null }
  /** The core description of a service; null: this router does not know it. */
  description: { readonly argument: { readonly serviceId: string }; readonly answer: ServiceDescription | null }
  /** Row per service of what this router counts. */
  usage: { readonly argument: null; readonly answer: Readonly<Record<string, UsageRow>> }
  /** Does this router keep the slot of this asynchronous request? */
  'async-held': { readonly argument: { readonly requestId: string }; readonly answer: boolean }
  /** The client of an asynchronous request was told that it is over; true: its slot was kept here. */
  'async-complete': { readonly argument: { readonly requestId: string }; readonly answer: boolean }
  /** Does this router hear another one by gossip? The leader does not, and asks before it gives that one up. */
  'hears-router': { readonly argument: { readonly routerId: string }; readonly answer: boolean }
  /** The node's routers are about to go; every worker of the node says so. */
  drain: {
    readonly argument: { readonly nodeId: string; readonly timeoutMs: number; readonly isCrash: boolean }
    readonly answer: boolean
  }
  /** They serve again; every worker of the node says so. */
  undrain: { readonly argument: { readonly nodeId: string }; readonly answer: boolean }
}

interface AwaitArgument {
  readonly serviceId: string
  readonly goal: GoalState
  readonly timeoutMs: number
}

interface AwaitAnswer {
  readonly isReached: boolean
  readonly exists: boolean
  readonly isHealthy: boolean
}

/** One service's figures on one router, as `/state` shows them (spec §5.7). */
export interface UsageRow {
  readonly 'last-request-time': string
  readonly outstanding: number
  readonly 'slots-available': number
  readonly 'slots-in-use': number
  readonly 'slots-received': number
  readonly total: number
  readonly 'waiting-for-available-instance': number
}

/** What a router knows that answers questions. */
export interface QuestionParts {
  readonly nodeId: string
  readonly table: ServiceTable
  /** Reads a service's overrides and suspension anew. */
  readonly refresh: (serviceId: string) => Promise<void>
  readonly drain: Drain
  readonly asyncRequests: Pick<AsyncRequests, 'isHeld' | 'complete'>
  readonly findDescription: (serviceId: string) => ServiceDescription | undefined
  /** Undefined: this router does not gossip. */
  readonly gossip?: Pick<RouterGossip, 'hears'> | undefined
}

type Answers = {
  readonly [Topic in keyof Questions]: (argument: Questions[Topic]['argument']) => Promise<Questions[Topic]['answer']>
}

/** Answers what other routers want to know of this one; they ask through the leader. */
export function createAnswers({
  nodeId,
  table,
  refresh,
  drain,
  asyncRequests,
  findDescription,
  gossip,
}: QuestionParts): AnswerQuestion {
  const answers: Answers = {
    refresh: async ({ serviceId }) => {
      await refresh(serviceId)
      return true
    },
    await: async ({ serviceId, goal, timeoutMs }) => {
      // One that there is not yet cannot be followed: this router asks again until it is there.
      const asking = setInterval(() => table.follow(serviceId), FOLLOW_EVERY_MS)
      try {
        if (goal !== 'deleted') table.follow(serviceId)
        const isReached = await table.until(() => hasReached(table.statusOf(serviceId), goal), timeoutMs)
        return { isReached, ...table.statusOf(serviceId) }
      } finally {
        clearInterval(asking)
      }
    },
    metrics: async ({ serviceId }) => {
      const runtime = table.get(serviceId)
      return runtime === undefined ? null : renderServiceMetrics(runtime, performance.now())
    },
    description: async ({ serviceId }) => findDescription(serviceId) ?? null,
    usage: async () => usageOf(table),
    'async-held': async ({ requestId }) => asyncRequests.isHeld(requestId),
    'async-complete': async ({ requestId }) => asyncRequests.complete(requestId),
    'hears-router': async ({ routerId }) => gossip?.hears(routerId) ?? false,
    drain: async argument => {
      if (argument.nodeId !== nodeId) return false
      drain.begin(argument)
      return true
    },
    undrain: async argument => {
      if (argument.nodeId !== nodeId) return false
      drain.end()
      return true
    },
  }
  return async (topic, argument) => {
    const answer = Object.hasOwn(answers, topic) ? answers[topic as keyof Questions] : undefined
    return answer === undefined ? null : await answer(argument as never)
  }
}

/** Asks every router, this one included; those that said something, and those that did not in time. */
export async function askRouters<Topic extends keyof Questions>(
  link: Pick<LeaderLink, 'askRouters'>,
  topic: Topic,
  argument: Questions[Topic]['argument'],
  timeoutMs: number,
): Promise<{
  readonly answers: ReadonlyMap<string, Questions[Topic]['answer']>
  readonly silentRouterIds: RouterAnswers['silentRouterIds']
}> {
  const { answers, silentRouterIds } = await link.askRouters(topic, argument, timeoutMs)
  return {
    answers: new Map(answers.map(({ routerId, answer }) => [routerId, answer as Questions[Topic]['answer']])),
    silentRouterIds,
  }
}

export function hasReached(
  status: { readonly exists: boolean; readonly isHealthy: boolean },
  goal: GoalState,
): boolean {
  switch (goal) {
    case 'deleted':
      return !status.exists
    case 'exist':
      return status.exists
    case 'healthy':
      return status.isHealthy
  }
}

/** What this router counts of every service. */
export function usageOf(table: ServiceTable): Record<string, UsageRow> {
  return Object.fromEntries(
    [...table.values()].map(({ id, lastRequestMs, counts, machine }): [string, UsageRow] => [
      id,
      {
        'last-request-time': lastRequestMs === 0 ? '' : new Date(lastRequestMs).toISOString(),
        outstanding: counts.outstanding,
        'slots-available': machine.slotsAvailable,
        'slots-in-use': machine.slotsInUse,
        'slots-received': 0,
        total: counts.total,
        'waiting-for-available-instance': machine.waiting,
      },
    ]),
  )
}
