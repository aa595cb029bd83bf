import type { LeaderLink } from '@waiter/control'
import type { StreamWriter } from '@waiter/proxy'
import type { LogEntry } from '@waiter/schedulers'
import { z } from 'zod'
import { type ApiCall, type ApiParts, baseUrlOf, leaderOf, notManager, takenOver, viewerOf } from './api-context.ts'
import { findService } from './apps.ts'
import { parseByteRange } from './byte-range.ts'
import type { Endpoints } from './contract/endpoint.ts'
import { badRequest, text } from './contract/query.ts'

/** Bytes of a file that are fetched at once. */
const PIECE_BYTES = 256 * 1024
/** Bytes of a file that one answer has at most; the rest is for further requests with `range`. */
const ANSWER_BYTES_MAX: number = 64 * 1024 * 1024

const entriesSchema = z.array(
  z.strictObject({
    name: z.string(),
    type: z.enum(['file', 'directory']),
    size: z.int().optional(),
    path: z.string().optional().meta({ description: 'Of a directory: the value for `directory`.' }),
    url: z.string().optional().meta({ description: 'Of a file: where its content is.' }),
  }),
)

interface Place {
  readonly serviceId: string
  readonly instanceId: string
  readonly path: string
}

/** `/apps/:id/logs`: files of an instance's working directory, of ended instances as well while they are remembered. */
export function addLogRoutes(endpoints: Endpoints, parts: ApiParts): void {
  endpoints.add(
    {
      method: 'get',
      path: '/apps/:id/logs',
      summary: "Files of an instance's working directory, or the content of one",
      description:
        'Without `file` a listing; with it the bytes of that file. `range: bytes=-4096` gives its end. Nothing outside of the directory is shown, whatever links say.',
      tag: 'instances',
      access: 'user',
      query: {
        'instance-id': text('Of the instance; required.'),
        host: text('Of the instance; required.'),
        directory: text('What to list, relative to the working directory.'),
        file: text('A file to show, relative to the working directory.'),
      },
      answers: {
        200: { description: 'A listing, or a file.', json: entriesSchema, media: ['text/plain'] },
        206: { description: 'The part that was asked for.', media: ['text/plain'] },
        416: { description: 'The file has no such part.' },
      },
    },
    async ({ call, query, param }) => {
      const serviceId = param('id')
      const instanceId = query['instance-id']
      const { host, file, directory = '' } = query
      if (!instanceId || !host)
        throw badRequest(`${instanceId ? 'Host' : 'Instance id'} is missing: give both instance-id and host`)
      const service = await findService(parts, serviceId)
      requireViewer(call, parts, service.definition.effective['run-as-user'])
      if (file !== undefined) return await sendFile(call, parts, { serviceId, instanceId, path: file })
      const entries = await leaderOf(parts).listLogs(serviceId, instanceId, directory)
      const address = new URLSearchParams({ 'instance-id': instanceId, host })
      const base = `${baseUrlOf(call)}/apps/${encodeURIComponent(serviceId)}/logs?${address}`
      return call.json(entries.map(entry => renderEntry(entry, base)))
    },
  )
}

/** @throws WaiterError WTR_FORBIDDEN (401) */
function requireViewer(call: ApiCall, parts: ApiParts, user: string): void {
  const viewer = viewerOf(call, parts)
  if (!parts.options.entitlements.mayManageToken(viewer, user)) throw notManager(user, 401)
}

function renderEntry({ name, type, size, path }: LogEntry, base: string): Record<string, unknown> {
  if (type === 'directory') return { name, type, path }
  return { name, type, size, url: `${base}&file=${encodeURIComponent(path)}` }
}

/** Never as anything that a browser would run: an instance writes what it likes, on Waiter's own origin. */
const FILE_HEADERS: readonly (readonly [string, string])[] = [
  ['content-type', 'text/plain;charset=utf-8'],
  ['x-content-type-options', 'nosniff'],
  ['content-security-policy', "default-src 'none'; sandbox"],
  ['accept-ranges', 'bytes'],
  ['cache-control', 'no-store'],
]

async function sendFile(call: ApiCall, parts: ApiParts, place: Place): Promise<Response> {
  const { exchange, context } = call.env
  const link = leaderOf(parts)
  const { size } = await readPiece(link, place, 0, 0)
  const range = parseByteRange(exchange.head.get('range'), size)
  const headers: [string, string][] = [
    ['x-cid', context.cid],
    ...FILE_HEADERS.map(([n, v]): [string, string] => [n, v]),
  ]
  if (range.kind === 'unsatisfiable') {
    exchange.respond({ status: 416, headers: [...headers, ['content-range', `bytes */${size}`]], body: '' })
    return takenOver()
  }
  const [from, wantedTo] = range.kind === 'whole' ? [0, size] : [range.from, range.to]
  const to = Math.min(wantedTo, from + ANSWER_BYTES_MAX)
  const isPart = range.kind === 'part' || to < size
  if (isPart) headers.push(['content-range', `bytes ${from}-${Math.max(from, to - 1)}/${size}`])
  const status = isPart ? 206 : 200
  if (exchange.head.method === 'HEAD' || from === to) exchange.respond({ status, headers, body: '' })
  else await stream(exchange.respondStream({ status, headers }), { link, place, from, to })
  return takenOver()
}

/** Sends piece after piece, each when the client has taken the former. A file that shrinks meanwhile ends early. */
async function stream(
  writer: StreamWriter,
  { link, place, from, to }: { link: LeaderLink; place: Place; from: number; to: number },
): Promise<void> {
  let isClosed = false
  let wake: () => void = () => undefined
  writer.onClosed = () => {
    isClosed = true
    wake()
  }
  writer.onDrain = () => wake()
  try {
    for (let offset = from; offset < to && !isClosed; ) {
      const { content } = await readPiece(link, place, offset, Math.min(PIECE_BYTES, to - offset))
      if (content.length === 0) break
      offset += content.length
      if (!isClosed && !writer.write(content))
        await new Promise<void>(resolve => {
          wake = resolve
          if (isClosed) resolve()
        })
    }
  } finally {
    // An answer that has begun can only end; chunks that are missing show in `content-range`.
    writer.end()
  }
}

function readPiece(link: LeaderLink, place: Place, offset: number, length: number): ReturnType<LeaderLink['readLog']> {
  return link.readLog(place.serviceId, place.instanceId, place.path, { offset, length })
}
