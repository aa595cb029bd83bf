/**
 * A gRPC server as an instance: `node grpc-backend.ts PORT HEALTH_PORT`. Health is asked over HTTP/1.1 on a port of its
 * own, since a gRPC server answers gRPC only.
 */
import { createServer } from 'node:http'
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import { echoService } from './grpc-echo.ts'

const [port = '', healthPort = ''] = process.argv.slice(2)
let cancelled = 0

const server = new Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 })
server.addService(echoService, {
  unary: (call: never, callback: never) => answerUnary(call, callback),
  serverStream: (call: {
    request: Buffer
    write(message: Buffer): boolean
    end(metadata?: Metadata): void
    on(event: string, listener: () => void): void
  }) => {
    const [count = '0', mode] = call.request.toString().split(' ')
    call.on('cancelled', () => {
      cancelled += 1
    })
    for (let i = 0; i < Number(count); i++) call.write(Buffer.from(`message ${i}`))
    if (mode !== 'forever') call.end(trailersOf('streamed'))
  },
  clientStream: (
    call: { on(event: 'data' | 'end', listener: (message: Buffer) => void): void },
    callback: (error: null, reply: Buffer) => void,
  ) => {
    let bytes = 0
    call.on('data', message => {
      bytes += message.length
    })
    call.on('end', () => callback(null, Buffer.from(String(bytes))))
  },
  both: (call: {
    on(event: 'data' | 'end', listener: (message: Buffer) => void): void
    write(message: Buffer): boolean
    end(): void
  }) => {
    call.on('data', message => call.write(message))
    call.on('end', () => call.end())
  },
} as never)

function answerUnary(
  call: { request: Buffer; getDeadline(): number | Date },
  callback: (error: object | null, reply?: Buffer, trailers?: Metadata) => void,
): void {
  const wish = call.request.toString('latin1', 0, 32)
  if (wish === 'deadline') callback(null, Buffer.from(String(Number(call.getDeadline()) - Date.now())))
  else if (wish === 'cancelled') callback(null, Buffer.from(String(cancelled)))
  else if (wish.startsWith('fail ')) {
    callback({ code: Number(wish.slice(5)), details: 'as you wish', metadata: trailersOf('failed') })
  } else if (wish.startsWith('sleep ')) setTimeout(() => callback(null, Buffer.from('awake')), Number(wish.slice(6)))
  else if (call.request.length > 0) callback(null, call.request, trailersOf('echoed'))
  else callback({ code: status.INVALID_ARGUMENT, details: 'nothing to echo' })
}

function trailersOf(value: string): Metadata {
  const metadata = new Metadata()
  metadata.set('x-how', value)
  return metadata
}

server.bindAsync(`0.0.0.0:${port}`, ServerCredentials.createInsecure(), error => {
  if (error) throw error
  createServer((_request, response) => response.end('well')).listen(Number(healthPort))
})
