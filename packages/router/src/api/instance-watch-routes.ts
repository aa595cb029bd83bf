import type { StreamWriter } from '@waiter/proxy'
import { z } from 'zod'
import type { InstanceNews, InstanceWatch, WatchedInstance } from '../cluster/instance-watch.ts'
import { nextRequestId } from '../request/request-context.ts'
import { type ApiCall, type ApiParts, baseUrlOf, mayManage, queryOf, takenOver } from './api-context.ts'
import { type AppFilters, parseAppFilters } from './app-filters.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { badRequest, flag, integer } from './contract/query.ts'
import { renderInstance } from './render-app.ts'
import { instanceSchema } from './schemas/service.ts'
import { visibleDescription } from './visible-description.ts'

/** A watch without news for this long ends; clients open it anew. */
const STREAMING_TIMEOUT_MS = 20_000
const STREAMING_TIMEOUT_MS_MAX = 3_600_000
/** Bytes that may wait for a slow watcher; more end its watch, since it would only fall further behind. */
const BACKLOG_CHARS_MAX = 4 * 1024 * 1024

/** One message of the stream: one line of JSON. */
const watchMessageSchema: z.ZodType = z.strictObject({
  id: z.string(),
  type: z.enum(['initial', 'events']),
  object: z.strictObject({
    'healthy-instances': z.strictObject({
      updated: z.array(instanceSchema),
      removed: z.array(instanceSchema).optional(),
    }),
  }),
})

/** `GET /apps/instances?watch=true` (spec §4.6): healthy instances of the cluster, as they come and go. */
export function addInstanceWatchRoutes(endpoints: Endpoints, parts: ApiParts, watch: InstanceWatch): void {
  endpoints.add(
    {
      method: 'get',
      path: '/apps/instances',
      summary: 'Watch healthy instances',
      description:
        'A stream of JSON lines, first `initial`, then `events`. It ends when there was nothing to tell for `streaming-timeout` milliseconds, and when the reader is too slow.',
      tag: 'instances',
      access: 'user',
      query: {
        watch: flag('Must be true.'),
        'streaming-timeout': integer(
          'streaming-timeout',
          'Milliseconds without news after which the stream ends; 20000 when absent.',
          STREAMING_TIMEOUT_MS_MAX,
        ),
      },
      otherQuery: 'Filters as for `/apps`.',
      answers: { 200: { description: 'Lines, one message each.', json: watchMessageSchema } },
    },
    ({ call, query }) => {
      if (!query.watch)
        throw badRequest('watch must be true: instances are only streamed', { 'watch-param': query.watch })
      const filters = parseAppFilters(queryOf(call))
      const { exchange, context } = call.env
      const watcher = new HttpWatcher({
        select: watched => isSelected(call, parts, filters, watched),
        render: watched => renderWatched(call, parts, watched),
        idleTimeoutMs: query['streaming-timeout'] ?? STREAMING_TIMEOUT_MS,
      })
      const end = watch.add(news => watcher.take(news))
      const headers = [
        ['content-type', 'application/json'],
        ['x-cid', context.cid],
      ] as const
      watcher.begin(exchange.respondStream({ status: 200, headers }), end)
      return takenOver()
    },
  )
}

function isSelected(call: ApiCall, parts: ApiParts, filters: AppFilters, { definition }: WatchedInstance): boolean {
  const isManager = mayManage(call, parts, definition.effective['run-as-user'])
  if (!filters.namesUser && !isManager) return false
  const sources = (parts.table.get(definition.id)?.summary?.sourceTokens ?? []).flat()
  return filters.selects({ definition }, visibleDescription(definition.effective, isManager), sources)
}

function renderWatched(call: ApiCall, parts: ApiParts, { definition, record }: WatchedInstance): unknown {
  const isManager = mayManage(call, parts, definition.effective['run-as-user'])
  return renderInstance(record, { isManager, baseUrl: baseUrlOf(call) })
}

interface HttpWatcherOptions {
  readonly select: (watched: WatchedInstance) => boolean
  readonly render: (watched: WatchedInstance) => unknown
  readonly idleTimeoutMs: number
}

/** One client's stream. */
class HttpWatcher {
  readonly #options: HttpWatcherOptions
  #writer: StreamWriter | undefined
  #end: () => void = () => undefined
  #idle: NodeJS.Timeout | undefined
  #isInitial = true
  #isBlocked = false
  #backlogChars = 0

  constructor(options: HttpWatcherOptions) {
    this.#options = options
  }

  begin(writer: StreamWriter, end: () => void): void {
    this.#writer = writer
    this.#end = end
    writer.onClosed = () => this.#close()
    writer.onDrain = () => {
      this.#isBlocked = false
      this.#backlogChars = 0
    }
    this.#armIdle()
  }

  take(news: InstanceNews): void {
    const { select, render } = this.#options
    const updated = news.updated.filter(select).map(render)
    const removed = news.removed.filter(select).map(render)
    const isInitial = this.#isInitial
    if (!isInitial && updated.length === 0 && removed.length === 0) return
    this.#isInitial = false
    const instances = isInitial ? { updated } : { updated, removed }
    const type = isInitial ? 'initial' : 'events'
    this.#write(`${JSON.stringify({ id: nextRequestId(), type, object: { 'healthy-instances': instances } })}\n`)
  }

  #write(line: string): void {
    const writer = this.#writer
    if (writer === undefined) return
    if (this.#isBlocked) this.#backlogChars += line.length
    if (this.#backlogChars > BACKLOG_CHARS_MAX) {
      writer.end()
      this.#close()
      return
    }
    if (!writer.write(line)) this.#isBlocked = true
    this.#armIdle()
  }

  #armIdle(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      this.#writer?.end()
      this.#close()
    }, this.#options.idleTimeoutMs)
    this.#idle.unref()
  }

  #close(): void {
    clearTimeout(this.#idle)
    this.#writer = undefined
    this.#end()
  }
}
