/**
 * A backend that is good or bad in one way. Usage: node backend.ts PORT MODE, where MODE is `good`, `crash` (ends before it listens),
 * `errors` (every second answer is a 500), `slow` (a second per answer) or `dies` (ends after some requests).
 */
import { createServer } from 'node:http'

const GOOD_MS = 5
const SLOW_MS = 1_000
const REQUESTS_BEFORE_DEATH = 40

const [port = '', mode = 'good'] = process.argv.slice(2)
if (mode === 'crash') {
  console.error('cannot read its configuration')
  process.exit(3)
}
let requests = 0
createServer((request, response) => {
  if (request.url === '/status') {
    response.end('well\n')
    return
  }
  requests += 1
  if (mode === 'dies' && requests > REQUESTS_BEFORE_DEATH) process.exit(4)
  response.statusCode = mode === 'errors' && requests % 2 === 0 ? 500 : 200
  setTimeout(() => response.end(`${mode}\n`), mode === 'slow' ? SLOW_MS : GOOD_MS)
}).listen(Number(port), '0.0.0.0')
