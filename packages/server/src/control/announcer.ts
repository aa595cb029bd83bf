import type { Logger } from '@waiter/base'
import type { AnnounceResponse, Caller, ClusterCalls, MemberAddress } from '@waiter/control'
import { NONE } from 'raft-ts'
import type { RaftMember } from './raft-member.ts'

/** Who did not answer is told again after this; without a leader all are asked again. */
const ROUND_MS = 1_000
/** Ticks without a word of the leader: several elections would have fitted into it. */
const SILENCE_TICKS_MAX = 20

export interface AnnouncerOptions {
  readonly member: RaftMember
  readonly self: MemberAddress
  readonly group: string
  readonly caller: Caller
  readonly calls: ClusterCalls
  /** The group has let this member go. */
  readonly onRemoved: () => void
  readonly log: Logger
}

/**
 * Tells the other members where this one is, until each has heard it: who comes back elsewhere is found without a leader.
 * Without a leader it goes on asking: perhaps the others have let this one go, and nobody can tell it otherwise.
 */
export class Announcer {
  readonly #options: AnnouncerOptions
  readonly #told = new Set<string>()
  readonly #busy = new Set<number>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void
  #isEnded = false

  constructor(options: AnnouncerOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#round(), ROUND_MS)
    const stopListening = options.member.onMembersChange(() => this.#round())
    const stopFollowing = options.member.store.node.subscribe(event => {
      if (event.kind !== 'leaderChanged') return
      this.#told.clear()
      this.#round()
    })
    this.#unsubscribe = () => {
      stopListening()
      stopFollowing()
    }
    this.#round()
  }

  stop(): void {
    this.#isEnded = true
    clearInterval(this.#timer)
    this.#unsubscribe()
  }

  #round(): void {
    const { member, self } = this.#options
    const isHeard = hearsItsLeader(member)
    for (const peer of member.book.all) {
      if (peer.id === self.id || peer.grpc === '' || this.#busy.has(peer.id)) continue
      if (isHeard && this.#told.has(nameOf(peer))) continue
      this.#busy.add(peer.id)
      void this.#tell(peer).finally(() => this.#busy.delete(peer.id))
    }
  }

  async #tell(peer: MemberAddress): Promise<void> {
    const { calls, caller, group, self, log } = this.#options
    try {
      this.#hear(await calls.announce(peer.grpc, { caller, group, self }))
      this.#told.add(nameOf(peer))
    } catch (error) {
      log.debug({ err: error, peer: peer.nodeId }, 'a member could not be told where this one is')
    }
  }

  #hear({ members, isRemoved }: AnnounceResponse): void {
    if (this.#isEnded) return
    if (isRemoved) {
      this.stop()
      this.#options.onRemoved()
    } else this.#options.member.hear(members)
  }
}

/** Whom the group has let go it stops talking to; who has learnt so much of it that it is none of them never asks for votes. */
function hearsItsLeader({ store: { node } }: RaftMember): boolean {
  const { voters, votersOutgoing, learners } = node.conf
  const isIn = [...voters, ...votersOutgoing, ...learners].includes(node.id)
  return isIn && node.leader !== NONE && node.status().electionElapsed < SILENCE_TICKS_MAX
}

function nameOf({ id, grpc }: MemberAddress): string {
  return `${id} ${grpc}`
}
