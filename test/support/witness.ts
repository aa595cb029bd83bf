/**
 * A backend that bears witness: appends to a file, one line each, when it starts, when it is asked to stop and how many
 * requests it was serving then, and the most it ever served at once. Usage: node witness.ts PORT FILE
 *
 * `x-delay-ms` says how long an answer takes; `/status` is not counted. The answer is the process id.
 */
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'

const [port, file] = process.argv.slice(2) as [string, string]
const tell = (word: string, count: number): void => appendFileSync(file, `${word} ${process.pid} ${count}\n`)
let serving = 0
let servedMost = 0

const server = createServer((request, response) => {
  if (request.url === '/status') {
    response.end('well\n')
    return
  }
  serving += 1
  if (serving > servedMost) {
    servedMost = serving
    tell('most', servedMost)
  }
  response.once('close', () => {
    serving -= 1
  })
  setTimeout(() => response.end(String(process.pid)), Number(request.headers['x-delay-ms'] ?? 0))
})
process.on('SIGTERM', () => {
  tell('stopped', serving)
  process.exit(0)
})
tell('started', 0)
server.listen(Number(port))
