import type { Message } from '../../message.ts'
import type { SimNode } from '../sim-node.ts'
import { Violation } from '../violation.ts'
import type { Invariant } from './invariant.ts'

/** Invariant 12: no message speaks of a term, vote or entry that a crash could make its sender forget. */
export class DurablePromises implements Invariant {
  onSent({ disk }: SimNode, message: Message): void {
    const { from, term, type } = message
    if (type === 'MsgPreVote' || type === 'MsgPreVoteResp') return
    if (term > disk.term) {
      throw new Violation('durable-promises', `node ${from} sends ${type} of term ${term}, its disk has ${disk.term}`)
    }
    // With a later term on disk it will never vote in this one again, which is all that counts.
    if (type === 'MsgVoteResp' && !message.reject && disk.term === term && disk.vote !== message.to) {
      throw new Violation('durable-promises', `node ${from} votes for ${message.to}, its disk has ${disk.vote}`)
    }
    // An acknowledgement in an older term than the disk's can only be for what a newer leader has replaced since; the
    // quorum that elected that leader keeps it from ever being committed.
    if (type === 'MsgAppResp' && !message.reject && disk.term === term && message.index > disk.lastIndex) {
      const ends = `its disk ends at ${disk.lastIndex}`
      throw new Violation('durable-promises', `node ${from} acknowledges ${message.index}, ${ends}`)
    }
  }
}
