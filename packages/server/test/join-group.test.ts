import { WaiterError } from '@waiter/base'
import t from 'tap'
import { unreachable } from '../src/members/join-group.ts'

/** As gRPC has told it of such seeds. */
const grpc = (details: string): WaiterError =>
  new WaiterError('no control process answers', { code: 'WTR_CONTROL_UNREACHABLE', cause: { details } })

for (const [story, details, want] of [
  [
    'nobody is there',
    'No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.30:1. Resolution note: ',
    /^no control node takes this host in: s:1: nothing listens there\. A control node of the cluster runs at `address`/,
  ],
  [
    'the port of a router',
    'Not found',
    /s:1: something else listens there\. It takes the port of a control node, not of a router/,
  ],
  ['a wrong name', 'Name resolution failed for target dns:x:9190', /s:1: the name is not known\. Is it spelt right/],
  ['a firewall', 'Deadline exceeded after 10.0s', /s:1: it does not answer\. Is the host up, and does a firewall/],
  [
    'another node-tls',
    'No connection established. Last error: Error: read ECONNRESET',
    /s:1: it ends the connection\. Do both/,
  ],
  ['something new', 'odd', /s:1: odd\. Are address and port right/],
] as const)
  t.test(`a seed that is none says why and how to mend it: ${story}`, async t => {
    t.match(unreachable([{ seed: 's:1', error: grpc(details) }]), { code: 'WTR_SEED_UNREACHABLE', message: want })
  })

t.test('what nodes say themselves is told as it is, and no mend twice', async t => {
  const refused = new WaiterError('clocks are more than 60 s apart', { code: 'WTR_NODE_REFUSED' })
  const error = grpc('connect ECONNREFUSED')
  const { message } = unreachable([
    { seed: 'a:1', error: refused },
    { seed: 'b:1', error },
    { seed: 'c:1', error },
  ])
  t.match(message, /a:1: WTR_NODE_REFUSED: clocks are more than 60 s apart; b:1: nothing listens there; c:1: nothing/)
  t.equal(message.split('A control node of the cluster').length, 2)
})
