import t from 'tap'
import { GrpcTransport } from '../../../../benchmarks/raft/grpc-transport.ts'
import { createTransportContract } from './support/transport-contract.ts'

const HOST = '127.0.0.1'

createTransportContract(t, 'grpc', async () => {
  const make = (id: number, port = 0) =>
    new GrpcTransport({ id, group: 'test', listen: { host: HOST, port }, maxQueuedBytes: 8 * 1024 * 1024 })
  const [first, second] = [make(1), make(2)]
  await Promise.all([first.listen(), second.listen()])
  const { port } = second
  first.setPeer(2, { host: HOST, port })
  second.setPeer(1, { host: HOST, port: first.port })
  return {
    first,
    second,
    restartSecond: async () => {
      const again = make(2, port)
      await again.listen()
      return again
    },
  }
})
