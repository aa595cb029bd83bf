/**
 * The backend of the soak: answers, and writes the number of every request down before it does, so that nothing is
 * forgotten when it is killed. Usage: node backend.ts PORT DIRECTORY
 *
 * A record is 4 bytes: the request's number (`x-soak: N`), little endian, in a file of this process.
 */
import { openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'

const [port, directory] = process.argv.slice(2) as [string, string]
const file = openSync(join(directory, `backend-${process.pid}-${Date.now()}.log`), 'a')
const record = Buffer.alloc(4)
const BIG = Buffer.alloc(2 * 1024 * 1024, 'b')
const MIDDLE = BIG.subarray(0, 64 * 1024)
const PIECES = 5
const PIECE_MS = 20

const server = createServer((request, response) => {
  const number = request.headers['x-soak']
  if (number !== undefined) {
    record.writeUInt32LE(Number(number))
    writeSync(file, record)
  }
  serve(request, response)
})
// Longer than the router keeps a connection: it is never the backend that closes first.
server.keepAliveTimeout = 60_000
server.listen(Number(port))

function serve(request: IncomingMessage, response: ServerResponse): void {
  switch (request.url) {
    case '/echo':
      response.writeHead(200, lengthOf(request))
      request.pipe(response)
      return
    case '/middle':
      response.end(MIDDLE)
      return
    case '/big':
      response.end(BIG)
      return
    case '/pieces':
      void sendPieces(response)
      return
    default:
      response.end('ok')
  }
}

function lengthOf(request: IncomingMessage): Record<string, string> {
  const length = request.headers['content-length']
  return length === undefined ? {} : { 'content-length': length }
}

async function sendPieces(response: ServerResponse): Promise<void> {
  for (let i = 0; i < PIECES && !response.destroyed; i++) {
    response.write(`piece ${i}\n`)
    await new Promise(resolve => setTimeout(resolve, PIECE_MS))
  }
  response.end()
}
