import { type Logger, WaiterError } from '@waiter/base'
import {
  type AnnounceRequest,
  type AnnounceResponse,
  type Caller,
  type ClusterCalls,
  type JoiningNode,
  type JoinRequest,
  type JoinResponse,
  type LeaveRequest,
  notLeader,
  onlyControl,
} from '@waiter/control'
import { CLUSTER_PROTOCOL, VERSION } from '../version.ts'
import { votersAfter } from './keep-members.ts'
import { keyOfMember, MEMBER_PREFIX, type MemberRecord, NEXT_ID_KEY, type StoredRecord } from './member-records.ts'
import { toWanted } from './members-keeper.ts'
import type { RaftMember } from './raft-member.ts'

const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
/** Nodes that one host may bring at once. */
const JOINING_MAX = 16
/** Somebody else writes the same record at the same time; that often in a row is a bug. */
const ATTEMPTS_MAX = 20

export interface AdmissionOptions {
  readonly member: RaftMember
  readonly group: string
  /** Name of the cluster. */
  readonly cluster: string
  readonly calls: ClusterCalls
  readonly log: Logger
}

/** Takes control nodes in and lets them go, by what it writes into the store; the leader does the rest. */
export class Admission {
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  async join({ caller, hostId, nodes }: JoinRequest): Promise<JoinResponse> {
    const { member, group, log } = this.#options
    this.#checkCaller(caller)
    if (nodes.length > JOINING_MAX || nodes.some(({ nodeId }) => !NODE_ID.test(nodeId)))
      throw refusal(400, 'WTR_BAD_REQUEST', `at most ${JOINING_MAX} nodes can join at once, with names like node-1`)
    const ids: number[] = []
    for (const node of nodes) ids.push(await this.#take(node, hostId, caller?.release ?? ''))
    if (ids.length > 0)
      log.info({ hostId, nodes: nodes.map(({ nodeId }) => nodeId), ids }, 'control nodes are taken in')
    return { group, ids, members: [...member.book.all] }
  }

  async announce({ caller, group, self }: AnnounceRequest): Promise<AnnounceResponse> {
    const { member } = this.#options
    this.#checkCaller(caller)
    if (group !== this.#options.group || self === undefined) throw wrongGroup()
    const { node } = member.store
    const isRemoved = node.role === 'leader' && (await this.#isRemoved(self.id))
    const isMember = member.records.get(self.id) !== undefined || isIn(node.conf, self.id)
    if (!isRemoved && (isMember || !member.records.isSynced)) member.hear([self])
    if (isMember && caller !== undefined) member.releases.set(self.id, caller.release)
    return { members: [...member.book.all], isRemoved }
  }

  async leave(request: LeaveRequest): Promise<void> {
    const { member, log, calls } = this.#options
    const { nodeIds, force } = request
    const { node } = member.store
    if (node.role !== 'leader') {
      const { address, leaderId } = member.leaderNews()
      if (address === '') throw notLeader(leaderId)
      return await calls.leave(onlyControl(address), request)
    }
    await node.read()
    const leaving = nodeIds.map(nodeId => {
      const found = member.records.ofNode(nodeId)
      if (found !== undefined) return found
      throw refusal(404, 'WTR_NO_SUCH_MEMBER', `${nodeId} is no control node; see /cluster/members`)
    })
    await this.#checkLeaving(leaving, force)
    for (const { id } of leaving)
      await this.#update(id, record => ({ ...record, state: 'leaving', 'is-forced': record['is-forced'] || force }))
    log.info({ nodes: nodeIds, force }, 'control nodes are to leave')
  }

  /** The others must be able to decide without them, and to decide that they go. */
  async #checkLeaving(leaving: readonly StoredRecord[], force: boolean): Promise<void> {
    const { member } = this.#options
    const { node } = member.store
    const heard = await member.whoIsHeard()
    const isActive = (id: number): boolean => heard.has(id)
    const { hardState, progress } = node.status()
    const silent = leaving.filter(({ id, record }) => !isActive(id) && record.state === 'member')
    if (silent.length > 0 && !force)
      throw refusal(
        409,
        'WTR_MEMBER_SILENT',
        `${namesOf(silent)} is not heard of: wait until it is back, or, if it never comes back, use --force (force=true). ` +
          'What it had is not lost as long as most of the others have it.',
      )
    const ids = leaving.map(({ id }) => id)
    const wanted = toWanted(member).map(one => (ids.includes(one.id) ? { ...one, state: 'gone' as const } : one))
    const voters = votersAfter(node.conf, wanted, { id: node.id, commit: hardState.commit, progress })
    if (voters.length === 0)
      throw refusal(409, 'WTR_LAST_MEMBER', `${namesOf(leaving)} cannot leave: no control node would be left`)
    const active = voters.filter(isActive)
    if (active.length * 2 <= voters.length)
      throw refusal(
        409,
        'WTR_QUORUM_AT_RISK',
        `${namesOf(leaving)} cannot leave now: of the ${voters.length} voters that would be left only ${active.length} ` +
          'are heard of, and nothing could be decided. Start the others, or let those leave first that never come back.',
      )
  }

  #checkCaller(caller: Caller | undefined): void {
    const { protocol = 0, release = '', cluster = '' } = caller ?? {}
    if (protocol !== CLUSTER_PROTOCOL)
      throw refusal(
        400,
        'WTR_WRONG_VERSION',
        `this cluster runs Waiter ${VERSION} (protocol ${CLUSTER_PROTOCOL}), not ${release} (protocol ${protocol}): use the ` +
          'same release on all hosts',
      )
    if (cluster !== this.#options.cluster)
      throw refusal(
        400,
        'WTR_WRONG_CLUSTER',
        `this is the cluster "${this.#options.cluster}", not "${cluster}": set cluster-config.name, or join another seed`,
      )
  }

  /** An id for one node: the one that was given to it already if it never used it, else a new one. */
  async #take({ nodeId, replaces }: JoiningNode, hostId: string, release: string): Promise<number> {
    const { store } = this.#options.member
    const records = await this.#readAll()
    const namesake = records.find(({ record }) => record.node === nodeId && record.state !== 'leaving')
    if (namesake !== undefined && namesake.record.host !== hostId)
      throw refusal(
        409,
        'WTR_NAME_TAKEN',
        `another host has a node ${nodeId}: choose another --name; if that host never comes back, let its node leave first ` +
          `(waiter cluster leave ${nodeId} --force)`,
      )
    if (namesake?.record.state === 'joining' && namesake.record.grpc === '') return namesake.id
    // It asks because it has no log: the member that it was is dead.
    for (const id of new Set([replaces, namesake?.id ?? 0]))
      if (records.some(one => one.id === id)) await this.#update(id, record => ({ ...record, state: 'leaving' }))
    const id = await this.#nextId()
    const record: MemberRecord = {
      ...{ node: nodeId, host: hostId, grpc: '', raft: '', 'since-ms': 0 },
      ...{ release, state: 'joining', 'is-forced': false },
    }
    const outcome = await store.compareAndSet(keyOfMember(id), 0, JSON.stringify(record))
    if (outcome.kind === 'written') return id
    throw contended()
  }

  async #nextId(): Promise<number> {
    const { store } = this.#options.member
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const current = await store.get(NEXT_ID_KEY)
      if (current === undefined)
        throw new WaiterError('the group has no leader that takes members in yet', {
          code: 'WTR_NOT_LEADER',
          status: 503,
          retryable: true,
        })
      const id = Number(current.value)
      const outcome = await store.compareAndSet(NEXT_ID_KEY, current.version, String(id + 1))
      if (outcome.kind === 'written') return id
    }
    throw contended()
  }

  async #update(id: number, change: (record: MemberRecord) => MemberRecord): Promise<void> {
    const { store } = this.#options.member
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const current = await store.get(keyOfMember(id))
      if (current === undefined) return
      const value = JSON.stringify(change(JSON.parse(current.value) as MemberRecord))
      if (value === current.value) return
      const outcome = await store.compareAndSet(keyOfMember(id), current.version, value)
      if (outcome.kind === 'written') return
    }
    throw contended()
  }

  async #readAll(): Promise<readonly { readonly id: number; readonly record: MemberRecord }[]> {
    const found: { id: number; record: MemberRecord }[] = []
    for await (const { key, value } of this.#options.member.store.list(MEMBER_PREFIX))
      found.push({ id: Number(key.slice(MEMBER_PREFIX.length)), record: JSON.parse(value) as MemberRecord })
    return found
  }

  /** Every id below the next one was given to somebody; who has no record any more has left. */
  async #isRemoved(id: number): Promise<boolean> {
    const { store } = this.#options.member
    const next = await store.get(NEXT_ID_KEY)
    if (next === undefined || id >= Number(next.value) || isIn(store.node.conf, id)) return false
    return (await store.get(keyOfMember(id))) === undefined
  }
}

function isIn(conf: RaftMember['store']['node']['conf'], id: number): boolean {
  return [...conf.voters, ...conf.votersOutgoing, ...conf.learners, ...conf.learnersNext].includes(id)
}

function namesOf(members: readonly StoredRecord[]): string {
  return members.map(({ record }) => record.node).join(', ')
}

function refusal(status: number, code: string, message: string): WaiterError {
  return new WaiterError(message, { code, status })
}

function wrongGroup(): WaiterError {
  return refusal(
    400,
    'WTR_WRONG_CLUSTER',
    'this control node belongs to another group: are the data directories mixed up?',
  )
}

function contended(): WaiterError {
  return new WaiterError('others change the members at the same time: try again', {
    code: 'WTR_CONTENDED',
    status: 503,
    retryable: true,
  })
}
