/** A member in a process of its own. Told what to be by its parent, and tells it what it sees. */
import { silentLogger } from '@waiter/base'
import { GossipNode, type GossipNodeOptions } from '../../../src/node/index.ts'

type Order =
  | { readonly kind: 'start'; readonly options: Omit<GossipNodeOptions, 'log' | 'onMember'> }
  | { readonly kind: 'set'; readonly key: string; readonly value: string }
  | { readonly kind: 'ask' }
  | { readonly kind: 'leave' }

const tell = (news: unknown): void => void process.send?.(news)
let node: GossipNode | undefined

process.on('message', (order: Order) => {
  void obey(order)
})
process.on('disconnect', () => process.exit(0))

async function obey(order: Order): Promise<void> {
  if (order.kind === 'start') {
    const onMember = (change: object): void => tell({ ...change, kind: 'member' })
    node = await GossipNode.start({ ...order.options, log: silentLogger, onMember })
    tell({ kind: 'started', address: node.address })
  } else if (order.kind === 'set') node?.set(order.key, order.value)
  else if (order.kind === 'leave') {
    await node?.leave()
    await node?.stop()
    process.disconnect()
  } else {
    const ids = node!.members().map(({ id }) => id)
    const rows = Object.fromEntries(ids.map(id => [id, Object.fromEntries(node!.row(id) ?? [])]))
    tell({ kind: 'answer', members: node!.members(), rows, status: node!.status() })
  }
}
