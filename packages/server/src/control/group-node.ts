import type { Logger } from '@waiter/base'
import type { ClusterCalls, ClusterNode, MemberAddress, MembersView } from '@waiter/control'
import type { ControlStart } from '../process/messages.ts'
import type { ParentLink } from '../process/run-child.ts'
import { CLUSTER_PROTOCOL, VERSION } from '../version.ts'
import { Admission } from './admission.ts'
import { Announcer } from './announcer.ts'
import type { RaftMember } from './raft-member.ts'

/** This member, as the others are to know it. A clock that was set back must not make its address look old. */
export function selfOf(
  { nodeId, host, raft, known }: ControlStart,
  where: { readonly grpc: string; readonly raft: string },
): MemberAddress {
  const before = known.find(({ id }) => id === raft.id)?.sinceMs ?? 0
  return { id: raft.id, nodeId, hostId: host.hostId, ...where, sinceMs: Math.max(Date.now(), before + 1) }
}

/** What other nodes may call of it. */
export function asClusterNode(
  { raft, settings }: ControlStart,
  member: RaftMember,
  parts: {
    readonly calls: ClusterCalls
    /** What only a leader knows. */
    readonly view: () => Pick<MembersView, 'hosts' | 'routers'>
    readonly log: Logger
  },
): ClusterNode {
  const { calls, view, log } = parts
  const admission = new Admission({ member, group: raft.group, cluster: settings['cluster-config'].name, calls, log })
  return {
    propose: (command, timeoutMs) => member.propose(command, timeoutMs),
    leaderNews: () => member.leaderNews(),
    onLeaderNews: listener => member.onLeaderNews(listener),
    members: async () => ({ ...(await member.members()), ...view() }),
    transferLeader: nodeId => member.transferLeader(nodeId),
    join: request => admission.join(request),
    announce: request => admission.announce(request),
    leave: request => admission.leave(request),
  }
}

/** Keeps the launcher and the other members informed. */
export function followMembers(parts: {
  readonly message: ControlStart
  readonly member: RaftMember
  readonly self: MemberAddress
  readonly calls: ClusterCalls
  readonly parent: ParentLink
  readonly log: Logger
}): Announcer {
  const { message, member, self, calls, parent, log } = parts
  const { raft, settings, known } = message
  let toldVersion = 0
  const tellParent = (): void => {
    const { version } = member.records
    if (version <= toldVersion) return
    toldVersion = version
    parent.tell({ kind: 'controls', members: member.book.all, version })
  }
  member.onMembersChange(tellParent)
  const tellLeader = (): void => {
    const leader = member.book.get(member.store.node.leader)
    if (leader !== undefined && leader.hostId !== self.hostId) parent.tell({ kind: 'led-elsewhere' })
  }
  member.onLeaderNews(tellLeader)
  member.hear(known)
  member.hear([self])
  tellParent()
  tellLeader()
  return new Announcer({
    ...{ member, self, group: raft.group, calls, log },
    caller: { protocol: CLUSTER_PROTOCOL, release: VERSION, cluster: settings['cluster-config'].name },
    onRemoved: () => {
      log.warn({ member: raft.id }, 'this control node has left the group: the others have let it go')
      parent.tell({ kind: 'removed' })
    },
  })
}
