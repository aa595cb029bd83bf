import { EventEmitter } from 'node:events'
import { type Logger, silentLogger } from '@waiter/base'
import t from 'tap'
import type { BorrowRequest } from '../src/generated/waiter/v1/router.ts'
import { SlotExchange, systemClock } from '../src/index.ts'
import type { RpcClients } from '../src/rpc/clients.ts'

/** A stream to a lender that keeps what was written. */
class FakeStream extends EventEmitter {
  readonly writableLength = 0
  readonly sent: BorrowRequest[] = []
  write(request: BorrowRequest): void {
    this.sent.push(request)
  }
  end(): void {}
  cancel(): void {}
}

function createExchange(log: Partial<Logger> = {}) {
  const streams: { readonly address: string; readonly stream: FakeStream }[] = []
  const retries: (() => void)[] = []
  const clients = {
    router: (address: string) => ({
      borrow: () => {
        const stream = new FakeStream()
        streams.push({ address, stream })
        return stream
      },
      close: () => undefined,
    }),
  } as unknown as RpcClients
  const exchange = new SlotExchange({
    routerId: 'me',
    clients,
    find: () => undefined,
    clock: {
      ...systemClock,
      schedule: (_delayMs, task) => {
        retries.push(task)
        return () => undefined
      },
    },
    log: { ...silentLogger, ...log },
  })
  t.teardown(() => exchange.close())
  return { exchange, streams, retries }
}

t.test('a router that was given up and is back hears what we hold of its slots', async t => {
  const { exchange, streams } = createExchange()
  const peers = [{ routerId: 'other', address: 'there:1' }]
  exchange.applyPeers({ isFull: true, peers, dead: [] })
  t.equal(streams.length, 0, 'nobody waits here, and nothing is to be settled')
  exchange.applyPeers({ isFull: false, peers: [], dead: ['other'] })
  exchange.applyPeers({ isFull: false, peers, dead: [] })
  t.equal(streams.length, 1)
  t.match(streams[0]?.stream.sent[0], { hello: { borrowerId: 'me', lenderId: 'other', heldGrantIds: [] } })
  exchange.applyPeers({ isFull: false, peers, dead: [] })
  t.equal(streams.length, 1, 'once')
})

t.test('so does one whose stream broke while nobody knew where it is', async t => {
  const { exchange, streams, retries } = createExchange()
  const peers = [{ routerId: 'other', address: 'there:1' }]
  exchange.applyPeers({ isFull: true, peers, dead: ['other'] })
  exchange.applyPeers({ isFull: true, peers, dead: [] })
  t.equal(streams.length, 1)
  streams[0]?.stream.emit('error', new Error('broken'))
  exchange.applyPeers({ isFull: true, peers: [], dead: [] })
  for (const retry of retries.splice(0)) retry()
  t.equal(streams.length, 1, 'it cannot be reached')
  exchange.applyPeers({ isFull: true, peers: [{ routerId: 'other', address: 'elsewhere:1' }], dead: [] })
  t.equal(streams.length, 2)
  t.equal(streams[1]?.address, 'elsewhere:1')
})

t.test('of all that live, who is not listed is dead: it was given up while this router was away', async t => {
  const ended: string[] = []
  const { exchange } = createExchange()
  const ask = (borrowerId: string): void => {
    const call = Object.assign(new EventEmitter(), { end: () => ended.push(borrowerId), write: () => true })
    exchange.handlers.borrow(call as never)
    const hello = { borrowerId, lenderId: 'me', heldGrantIds: [] }
    call.emit('data', { hello, needs: [], returns: [], goodbye: false })
  }
  for (const borrowerId of ['here', 'awaited', 'gone']) ask(borrowerId)
  const peers = [{ routerId: 'here', address: 'there:1' }]
  exchange.applyPeers({ isFull: true, peers, dead: [] })
  t.same(ended, [], 'an earlier version does not say who else lives')
  exchange.applyPeers({ isFull: true, peers, dead: [], awaited: ['awaited'] })
  t.same(ended, ['gone'])
  ended.length = 0
  ask('gone')
  t.same(ended, ['gone'], 'it is refused')
})

t.test(
  'a router that was given up and lives is refused, and the log tells it once, however often it tries',
  async t => {
    const told: string[] = []
    const note = (fields: object, message: string): void => void told.push(`${Object.values(fields)[0]}: ${message}`)
    const { exchange } = createExchange({ warn: note, error: note })
    let ended = 0
    const ask = (borrowerId: string): void => {
      const call = Object.assign(new EventEmitter(), { end: () => (ended += 1), write: () => true })
      exchange.handlers.borrow(call as never)
      const hello = { borrowerId, lenderId: 'me', heldGrantIds: [] }
      call.emit('data', { hello, needs: [], returns: [], goodbye: false })
    }
    ask('other')
    t.equal(ended, 0)
    exchange.applyPeers({ isFull: false, peers: [], dead: ['other'] })
    const before = ended
    for (let time = 0; time < 3; time++) ask('other')
    t.equal(ended, before + 3, 'each time')
    t.same(told, ['other: a router that the leader gave up wants slots; it gets none until the leader lists it again'])
    exchange.applyPeers({ isFull: false, peers: [{ routerId: 'other', address: 'there:1' }], dead: [] })
    ask('other')
    t.equal(ended, before + 3, 'it is back')
  },
)
