/** Answers after `x-service-ms` and says when it began and ended, and who it is: `PORT` is its argument. */
import { createServer } from 'node:http'

const epochMs = (): number => performance.timeOrigin + performance.now()

createServer((request, response) => {
  const beganAtMs = epochMs()
  const serviceMs = Number(request.headers['x-service-ms'] ?? 0)
  const answer = (): void => {
    response.setHeader('x-times', `${process.pid} ${beganAtMs} ${epochMs()}`)
    response.end('done')
  }
  if (serviceMs > 0) setTimeout(answer, serviceMs)
  else answer()
}).listen(Number(process.argv[2]), '127.0.0.1')
