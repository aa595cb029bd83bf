import {
  type ConfChange,
  type ConfChangeSingle,
  describeConf,
  describeEntries,
  describeMessage,
  describeProgress,
  describeReady,
  describeSoftState,
  ETCD_OPTIONS,
  encodeText,
  type InitialLog,
  type Message,
  NO_DATA,
  type RaftOptions,
} from '../../src/index.ts'
import { confOf, entriesOf, TestNode } from './cluster.ts'

const CHANGE_KINDS = { v: 'addVoter', l: 'addLearner', r: 'remove', u: 'update' } as const

/** With `etcd=true`: elections after three ticks, as etcd's own scripts have it. */
const ELECTION_TICKS = 3

interface Command {
  readonly name: string
  /** Words without `=`. */
  readonly words: readonly string[]
  readonly options: ReadonlyMap<string, string>
}

/**
 * Runs protocol conversations written as text: a command, a line `----`, what must come of it, an empty line.
 * Nodes handle one Ready and messages wait in the air until a command moves them, so that any order can be told.
 */
export class ScriptRunner {
  readonly #nodes = new Map<number, TestNode>()
  #air: Message[] = []

  /** Runs all commands of a script; returns the script with what came of them in place of what was expected. */
  run(script: string): string {
    const blocks = script.trimEnd().split(/\n\n(?=\S)/)
    return `${blocks.map(block => this.#runBlock(block)).join('\n\n')}\n`
  }

  #runBlock(block: string): string {
    const lines = block.split('\n')
    const at = lines.findIndex(line => line !== '' && !line.startsWith('#'))
    if (at < 0) return block
    const head = lines.slice(0, at + 1).join('\n')
    const output = this.#execute(parse(lines[at]!)).trimEnd()
    return `${head}\n----\n${output === '' ? 'ok' : output}`
  }

  #execute(command: Command): string {
    const id = Number(command.words[0])
    const node = () => this.#nodes.get(id)!
    switch (command.name) {
      case 'add-nodes':
        return this.#addNodes(command)
      case 'campaign':
        node().raw.campaign()
        return ''
      case 'tick':
        for (let times = Number(command.words[1] ?? 1); times > 0; times--) node().raw.tick()
        return describeSoftState({ leader: node().status.leader, role: node().status.role })
      case 'propose':
        return outcome(node().raw.propose(encodeText(command.words[1] ?? '')))
      case 'propose-conf-change':
        return outcome(node().raw.proposeConfChange(parseChange(command)))
      case 'tick-election':
        for (let times = ELECTION_TICKS; times > 0; times--) node().raw.tick()
        return ''
      case 'tick-heartbeat':
        node().raw.tick()
        return ''
      case 'set-randomized-election-timeout':
        node().raw.setRandomizedElectionTicks(Number(command.options.get('timeout')))
        return ''
      case 'forget-leader':
        node().raw.forgetLeader()
        return ''
      case 'transfer-leadership':
        this.#nodes.get(Number(command.options.get('from')))!.raw.transferLeader(Number(command.options.get('to')))
        return ''
      case 'transfer-leader':
        node().raw.transferLeader(Number(command.options.get('to')))
        return ''
      case 'report-unreachable':
        node().raw.reportUnreachable(Number(command.words[1]))
        return ''
      case 'report-snapshot':
        node().raw.reportSnapshot(Number(command.words[1]), command.words[2] === 'delivered')
        return ''
      case 'read':
        return node().raw.readIndex(command.words[1] ?? '')
      case 'beat':
        node().raw.beat()
        return ''
      case 'compact':
        if (command.words[1] === undefined) node().compact()
        else node().compact(Number(command.words[1]))
        return describeLog(node())
      default:
        return this.#executeMoving(command, node)
    }
  }

  #executeMoving(command: Command, node: () => TestNode): string {
    switch (command.name) {
      case 'process-ready':
        return this.#processReady(node())
      case 'process-append-thread':
        return this.#work('AppendThread', node().appendNext())
      case 'process-apply-thread':
        return this.#work('ApplyThread', node().applyNext())
      case 'send-snapshot':
        return this.#sendSnapshot(node(), Number(command.words[1]))
      case 'raft-state':
        return [...this.#nodes.values()].map(describeState).join('\n')
      case 'deliver':
      case 'deliver-msgs':
        return this.#deliver(node().id, command.options.get('drop') !== undefined)
      case 'stabilize':
        return this.#stabilize(command.words.length > 0 ? command.words.map(Number) : [...this.#nodes.keys()])
      case 'log':
      case 'raft-log':
        return describeLog(node())
      case 'status':
        return node()
          .status.progress.map(progress => `${progress.id}: ${describeProgress(progress)}`)
          .join('\n')
      case 'states':
        return [...this.#nodes.values()]
          .map(
            ({ status, conf }) =>
              `${status.id}: ${status.role} term ${status.hardState.term} commit ${status.hardState.commit} ${describeConf(conf)}`,
          )
          .join('\n')
      default:
        throw new Error(`no such command: ${command.name}`)
    }
  }

  #addNodes({ words, options }: Command): string {
    const numbers = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(',').map(Number))
    const entries = entriesOf(...numbers(options.get('log')))
    const term = Number(options.get('term') ?? entries.at(-1)?.term ?? 0)
    const commit = Number(options.get('commit') ?? 0)
    const conf = confOf(numbers(options.get('voters')), { learners: numbers(options.get('learners')) })
    const settings: Partial<RaftOptions> = {
      ...(options.get('etcd') === 'true' ? { ...ETCD_OPTIONS, electionTicks: ELECTION_TICKS } : {}),
      asyncStorageWrites: options.get('async-storage-writes') === 'true',
      readOnly: options.get('read-only') === 'lease-based' ? 'leaseBased' : 'safe',
      ...(options.get('apply') === undefined ? {} : { maxApplyBytes: Number(options.get('apply')) }),
      preVote: options.get('prevote') === 'true',
      checkQuorum: options.get('checkquorum') === 'true',
      ...(options.get('inflight') === undefined ? {} : { maxInflightMessages: Number(options.get('inflight')) }),
    }
    for (const word of words) {
      const initial: InitialLog = { conf, entries, hardState: { term, vote: 0, commit } }
      this.#nodes.set(Number(word), new TestNode(Number(word), initial, settings))
    }
    return ''
  }

  #processReady(node: TestNode): string {
    if (!node.raw.hasReady()) return '<empty Ready>'
    const { ready, sent } = node.handle()
    this.#air.push(...sent)
    return describeReady(ready)
  }

  #deliver(to: number, isDropped: boolean): string {
    const arriving = this.#air.filter(message => message.to === to)
    this.#air = this.#air.filter(message => message.to !== to)
    const lines = arriving.map(message => `${isDropped ? 'dropped: ' : ''}${describeMessage(message)}`)
    if (!isDropped) for (const message of arriving) this.#nodes.get(to)?.raw.step(message)
    return lines.join('\n')
  }

  /** Whatever a thread has done is answered through the air, also to its own node: order is the script's. */
  #work(thread: string, responses: readonly Message[]): string {
    this.#air.push(...responses)
    return responses.length === 0
      ? `${thread} has nothing to tell`
      : responses.map(one => describeMessage(one)).join('\n')
  }

  #sendSnapshot(node: TestNode, to: number): string {
    const snapshot = node.storage.snapshot()!
    const { term } = node.status.hardState
    const message: Message = { type: 'MsgSnap', from: node.id, to, term, snapshot }
    this.#air.push(message)
    return describeMessage(message)
  }

  #stabilize(ids: readonly number[]): string {
    const lines: string[] = []
    const indent = (text: string) =>
      lines.push(
        ...text
          .trimEnd()
          .split('\n')
          .map(line => `  ${line}`),
      )
    for (let isMoving = true; isMoving; ) {
      isMoving = false
      for (const id of ids) {
        const node = this.#nodes.get(id)!
        if (!node.raw.hasReady()) continue
        lines.push(`> ${id} handling Ready`)
        indent(this.#processReady(node))
        isMoving = true
      }
      for (const id of ids) {
        const node = this.#nodes.get(id)!
        if (node.appendWork.length > 0) {
          lines.push(`> ${id} processing append thread`)
          indent(this.#work('AppendThread', node.appendNext()))
          isMoving = true
        }
        if (node.applyWork.length > 0) {
          lines.push(`> ${id} processing apply thread`)
          indent(this.#work('ApplyThread', node.applyNext()))
          isMoving = true
        }
      }
      for (const id of ids) {
        if (!this.#air.some(message => message.to === id)) continue
        lines.push(`> ${id} receiving messages`)
        indent(this.#deliver(id, false))
        isMoving = true
      }
    }
    return lines.join('\n')
  }
}

function describeState({ status }: TestNode): string {
  const { voters, votersOutgoing, learners } = status.conf
  const isVoter = [...voters, ...votersOutgoing].includes(status.id)
  const member = isVoter ? 'Voter' : learners.includes(status.id) ? 'Learner' : 'Non-Member'
  const { role, leader } = status
  return `${status.id}: ${describeSoftState({ leader, role })} (${member}) Term:${status.hardState.term}`
}

function parse(line: string): Command {
  const [name = '', ...rest] = line.split(/\s+/)
  const options = new Map(rest.filter(word => word.includes('=')).map(word => word.split('=', 2) as [string, string]))
  return { name, words: rest.filter(word => !word.includes('=')), options }
}

function parseChange({ words, options }: Command): ConfChange {
  const changes = words.slice(1).map((word): ConfChangeSingle => {
    const kind = CHANGE_KINDS[word[0] as keyof typeof CHANGE_KINDS]
    return { kind, id: Number(word.slice(1)) }
  })
  const transition = (options.get('transition') ?? 'auto') as ConfChange['transition']
  return { changes, transition, context: NO_DATA, ...(options.get('v1') === 'true' ? { isV1: true } : {}) }
}

function outcome(result: object): string {
  return Object.values(result).join(' ')
}

function describeLog(node: TestNode): string {
  const entries = node.raw.logEntries()
  const { firstIndex, lastIndex } = node.status
  return entries.length === 0 ? `log is empty: first ${firstIndex}, last ${lastIndex}` : describeEntries(entries)
}
