/**
 * The backend of the browser test: a page that tries everything a browser does, and what it needs. Usage:
 * node browser-backend.ts PORT
 *
 * Streams send one piece at a time; the next comes when the page has confirmed the last. The page's `run()` resolves
 * with what it found.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { WebSocketServer } from 'ws'

const PIECES = 5
const confirms = new Map<string, () => void>()

const PAGE = `<!doctype html><title>browser test</title><script>
const confirm = name => fetch('/confirm?name=' + name, { method: 'POST' })
async function sse() {
  const source = new EventSource('/sse')
  const seen = []
  await new Promise((resolve, reject) => {
    source.onmessage = async ({ data }) => {
      seen.push(data)
      await confirm('sse')
      if (seen.length === ${PIECES}) resolve()
    }
    // After the last piece the stream ends, which is an error to an EventSource, and may be seen before the last confirm.
    source.onerror = () => { if (seen.length < ${PIECES}) reject(new Error('EventSource broke after ' + seen.length)) }
  })
  source.close()
  return seen
}
async function stream() {
  const reader = (await fetch('/stream')).body.getReader()
  const seen = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return seen
    seen.push(new TextDecoder().decode(value))
    await confirm('stream')
  }
}
async function cut() {
  try {
    await (await fetch('/cut')).text()
    return 'whole'
  } catch (error) {
    return error.name
  }
}
async function socket() {
  const one = new WebSocket(location.origin.replace('http', 'ws') + '/ws', ['v2', 'v1'])
  const next = () => new Promise(resolve => { one.onmessage = ({ data }) => resolve(data) })
  await new Promise((resolve, reject) => { one.onopen = resolve; one.onerror = () => reject(new Error('no WebSocket')) })
  one.send('hello')
  const echoed = await next()
  one.binaryType = 'arraybuffer'
  one.send(new Uint8Array([1, 2, 3]))
  const bytes = [...new Uint8Array(await next())]
  const closed = new Promise(resolve => { one.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean }) })
  one.send('close 4001 bye')
  return { protocol: one.protocol, echoed, bytes, closed: await closed }
}
async function posts() {
  const body = 'p'.repeat(200000)
  const lengths = await Promise.all([1, 2, 3].map(async () => (await (await fetch('/echo', { method: 'POST', body })).text()).length))
  return lengths
}
async function connections() {
  performance.clearResourceTimings()
  for (let i = 0; i < 10; i++) await (await fetch('/hello?' + i)).text()
  const entries = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/hello'))
  return {
    requests: entries.length,
    connects: entries.filter(({ connectStart, connectEnd }) => connectEnd > connectStart).length,
    protocols: [...new Set(entries.map(({ nextHopProtocol }) => nextHopProtocol))],
  }
}
async function run() {
  return JSON.stringify({
    sse: await sse(), stream: await stream(), cut: await cut(), socket: await socket(), posts: await posts(),
    connections: await connections(),
  })
}
</script>`

async function sendPieces(response: ServerResponse, name: string, render: (piece: number) => string): Promise<void> {
  for (let piece = 0; piece < PIECES && !response.destroyed; piece++) {
    const confirmed = new Promise<void>(resolve => confirms.set(name, resolve))
    response.write(render(piece))
    await confirmed
  }
  response.end()
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://a')
  switch (url.pathname) {
    case '/page':
      response.setHeader('content-type', 'text/html').end(PAGE)
      return
    case '/sse':
      response.setHeader('content-type', 'text/event-stream')
      void sendPieces(response, 'sse', piece => `data: event ${piece}\n\n`)
      return
    case '/stream':
      void sendPieces(response, 'stream', piece => `piece ${piece}`)
      return
    case '/confirm':
      confirms.get(url.searchParams.get('name') ?? '')?.()
      response.end()
      return
    case '/cut':
      response.write('a part', () => response.destroy())
      return
    case '/echo':
      request.pipe(response)
      return
    default:
      response.end('hello')
  }
}

const server = createServer(serve)
const sockets = new WebSocketServer({ server, handleProtocols: offered => [...offered][0] ?? false })
sockets.on('connection', socket => {
  socket.on('error', () => undefined)
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    const close = /^close (\d+) (.*)$/.exec(isBinary ? '' : data.toString())
    if (close === null) socket.send(data, { binary: isBinary })
    else socket.close(Number(close[1]), close[2])
  })
})
server.listen(Number(process.argv[2]))
