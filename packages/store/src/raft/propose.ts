import type { KeyValueResult, NodeId } from 'raft-ts'
import { type RaftNode, RaftNodeError } from 'raft-ts/node'

/** What came of a command that was put to the leader. */
export type ProposeOutcome =
  | { readonly kind: 'applied'; readonly result: KeyValueResult }
  | {
      readonly kind: 'failed'
      /** Whether it may have happened nevertheless. */
      readonly mayHaveHappened: boolean
      /** Whom to ask instead; 0: nobody known. */
      readonly leader: NodeId
      readonly why: string
    }

/** Puts a command to this node, which must lead. A node that has ended, or a command that nobody can read, is an error. */
export async function proposeHere(
  node: RaftNode<KeyValueResult>,
  command: Uint8Array,
  timeoutMs: number,
): Promise<ProposeOutcome> {
  try {
    const { result } = await node.propose(command, { timeoutMs })
    return { kind: 'applied', result }
  } catch (error) {
    if (!(error instanceof RaftNodeError) || error.code === 'RAFT_BAD_PROPOSAL') throw error
    return {
      kind: 'failed',
      mayHaveHappened: error.outcome === 'unknown',
      leader: error.leader,
      why: error.message,
    }
  }
}
