import { majorityCommitted, majorityVote, voterIds } from '../../quorum.ts'
import { RULES } from '../../rules.ts'
import type { Mutant } from './mutant.ts'

/** The nineteen planted bugs. Tests and `--mutants` run each; a mutant that is not found means a blind simulator. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'commit-without-own-term-check',
    story: 'A leader counts acknowledgements of entries of earlier terms (Raft figure 8).',
    rules: { mayCommit: (log, index) => index <= log.lastIndex() },
    knownSeed: 1,
  },
  {
    name: 'vote-not-persisted',
    story: 'The vote stays in memory: after a crash a node votes again in the same term.',
    driverRules: { persistedHardState: hardState => ({ ...hardState, vote: 0 }) },
    knownSeed: 1,
  },
  {
    name: 'send-before-fsync',
    story: 'Votes and acknowledgements leave before the disk has what they promise.',
    driverRules: { sendsPromisesBeforeSync: true },
    knownSeed: 1,
  },
  {
    name: 'no-no-op',
    story: 'A new leader writes nothing: it cannot tell what is committed until somebody else writes.',
    rules: { entriesAtTermStart: () => [] },
    knownSeed: 1,
  },
  {
    name: 'read-index-without-quorum',
    story: 'A leader answers reads without asking whether it still leads.',
    rules: { isReadConfirmed: () => true },
    knownSeed: 7,
  },
  {
    name: 'read-index-id-reuse',
    story: 'All reads share one round: late answers to an old heartbeat confirm a new read.',
    rules: { nextReadRound: () => 1 },
    knownSeed: 15,
  },
  {
    name: 'pre-vote-bumps-term',
    story: 'Being asked for a pre-vote is taken for an election: terms rise without candidates.',
    rules: { adoptsPreVoteTerm: type => type === 'MsgPreVote' },
    knownSeed: 1,
  },
  {
    name: 'votes-while-hearing-leader',
    story: 'A node that hears its leader votes for others: one broken link makes leaders take turns.',
    rules: { refusesVotesInLease: () => false },
    knownSeed: 1,
  },
  {
    name: 'joint-majority-of-union',
    story: 'A joint configuration decides by a majority of all voters together instead of each half.',
    rules: {
      committedIndex: (conf, acked) => majorityCommitted(voterIds(conf), acked),
      voteResult: (conf, votes) => majorityVote(voterIds(conf), votes),
    },
    knownSeed: 11,
  },
  {
    name: 'learner-counted',
    story: 'Learners count as if they were voters.',
    rules: {
      committedIndex: (conf, acked) =>
        RULES.committedIndex({ ...conf, voters: [...conf.voters, ...conf.learners] }, acked),
    },
    knownSeed: 4,
  },
  {
    name: 'truncate-on-any-append',
    story:
      'Every append cuts the log after it, though what follows agrees: an old message removes what was acknowledged.',
    rules: { firstConflict: (_log, entries) => entries[0]?.index ?? 0 },
    knownSeed: 2,
  },
  {
    name: 'snapshot-keeps-tail',
    story: 'Entries after a received snapshot survive it, though they are from another history.',
    driverRules: { keepsTailAfterSnapshot: true },
    knownSeed: 345,
  },
  {
    name: 'stale-append-ack',
    story: 'A finished write acknowledges an index whose entry was replaced meanwhile.',
    rules: {
      isStableAckCurrent: (log, id) => id.index >= log.unstable.offset && log.unstable.term(id.index) !== undefined,
    },
    knownSeed: 39,
  },
  {
    name: 'config-change-while-pending',
    story: 'A second membership change is taken before the first is applied.',
    rules: { confChangeRefusal: () => undefined },
    knownSeed: 3,
  },
  {
    name: 'node-id-reused-after-wipe',
    story: 'A node that lost its disk comes back under its old id, without its votes and acknowledgements.',
    driverRules: { reusesIdAfterWipe: true },
    knownSeed: 2,
  },
  {
    name: 'no-session-dedupe',
    story: 'A retried write is applied again.',
    driverRules: { remembersWrites: false },
    knownSeed: 1,
  },
  {
    name: 'applied-index-separate-from-data',
    story: 'Data and applied index are stored by two writes; a crash between them applies entries twice.',
    driverRules: { appliedIndexLag: 2 },
    knownSeed: 4,
  },
  {
    name: 'leader-counts-itself-early',
    story: 'A leader counts its own entries before its own disk has them.',
    rules: { countsOwnEntriesAtOnce: () => true },
    knownSeed: 1,
  },
  {
    name: 'election-on-a-rumour',
    story: 'Who is told that the leader is gone is a candidate at once: one flapping connection unseats a leader.',
    rules: { asksBeforeHastenedElection: () => false },
    knownSeed: 1,
  },
]
