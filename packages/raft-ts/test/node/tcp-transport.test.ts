import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { TcpTransport } from '../../src/node/index.ts'
import { createTransportContract, Inbox } from './support/transport-contract.ts'

const HOST = '127.0.0.1'
const LIMITS = { maxQueuedBytes: 8 * 1024 * 1024, reconnectMs: 5 }

createTransportContract(t, 'tcp', async () => {
  const make = (id: number, port = 0) =>
    new TcpTransport({ id, group: 'test', listen: { host: HOST, port }, limits: LIMITS })
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

t.test('who is of another group, wants another node, or speaks something else is cut off', async t => {
  const transport = new TcpTransport({ id: 1, group: 'ours', listen: { host: HOST, port: 0 } })
  const inbox = new Inbox()
  await transport.start(inbox)
  t.teardown(() => transport.stop())
  const address = { host: HOST, port: transport.port }
  const beat = { type: 'MsgHeartbeat', from: 2, to: 1, term: 9, commit: 1, readRound: 0 } as const
  for (const [group, to] of [
    ['theirs', 1],
    ['ours', 3],
  ] as const) {
    const stranger = new TcpTransport({
      id: 2,
      group,
      listen: { host: HOST, port: 0 },
      peers: new Map([[to, address]]),
    })
    const told = new Inbox()
    await stranger.start(told)
    stranger.send([{ ...beat, to }])
    await told.until(() => told.unreachable.includes(to))
    await stranger.stop()
  }
  const browser = connect(address)
  browser.write('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
  browser.resume()
  await once(browser, 'close')
  t.same(inbox.messages, [])
})
