import { type Logger, WaiterError } from '@waiter/base'
import { createLogger } from '../logging.ts'
import type {
  ChildAddresses,
  ChildNews,
  FromChild,
  MembersMessage,
  SiblingsMessage,
  StartMessage,
  StopMessage,
  ToChild,
} from './messages.ts'

/** What a child runs: started once, stopped once. */
export interface ChildRole extends ChildAddresses {
  /** Finishes what runs within `graceMs`, then releases everything. */
  stop(graceMs: number, message: StopMessage): Promise<void>
}

/** A child's line to its parent while it runs. */
export interface ParentLink {
  /** Hears who the control processes are: at once, if that was told before, and whenever it changes. One listener. */
  onMembers(listener: (members: MembersMessage['members']) => void): void
  /** Hears where the other workers of its node are: likewise. */
  onSiblings(listener: (addresses: SiblingsMessage['addresses']) => void): void
  /** Hears whether it is to drain: likewise. */
  onDrain(listener: (drains: boolean) => void): void
  /** Hears which other routers of this host end, from now on. One listener. */
  onRouterEnded(listener: (routerId: string) => void): void
  tell(news: ChildNews): void
}

const EXIT_FAILED = 1
/** sysexits EX_SOFTWARE: a broken invariant. */
const EXIT_BUG = 70

/**
 * The life of a child process: start on the parent's message, report, stop on the parent's message. When the parent
 * dies, however it dies, so does the child, at once: what must survive is on disk, and instances live on to be adopted.
 */
export function runChild<Start extends StartMessage>(
  kind: Start['kind'],
  start: (message: Start, log: Logger, parent: ParentLink) => Promise<ChildRole>,
): void {
  // Ctrl-C reaches the whole terminal group, and so does SIGHUP when its window is closed; the parent decides what
  // follows.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
  process.on('disconnect', () => process.exit(EXIT_FAILED))
  let log: Logger | undefined
  const crash = (error: unknown): void => {
    log?.error({ err: error }, 'a bug: this process ends and is started again')
    console.error(error)
    // The logger writes in the background; give it a moment, but never hang.
    setTimeout(() => process.exit(EXIT_BUG), 100)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)

  let role: ChildRole | undefined
  const members = new Latest<MembersMessage['members']>()
  const siblings = new Latest<SiblingsMessage['addresses']>()
  const draining = new Latest<boolean>()
  let hearEnded: (routerId: string) => void = () => undefined
  const parent: ParentLink = {
    onMembers: listener => members.listen(listener),
    onSiblings: listener => siblings.listen(listener),
    onDrain: listener => draining.listen(listener),
    onRouterEnded: listener => {
      hearEnded = listener
    },
    tell: send,
  }
  process.on('message', (message: ToChild) => {
    if (message.kind === 'stop') {
      void stopAndExit(role, message, log)
      return
    }
    if (message.kind === 'members') {
      members.tell(message.members)
      return
    }
    if (message.kind === 'siblings') {
      siblings.tell(message.addresses)
      return
    }
    if (message.kind === 'router-ended') {
      hearEnded(message.routerId)
      return
    }
    if (message.kind === 'drain') {
      draining.tell(message.drains)
      return
    }
    if (message.kind !== kind) return
    log = createLogger(`${message.nodeId}-${kind.replace('start-', '')}`, message.settings.log.level, message.log)
    start(message as Start, log, parent).then(
      started => {
        role = started
        const { address, secureAddress, raftAddress, peerAddress, sinceMs, routerId } = started
        send({ kind: 'ready', address, secureAddress, raftAddress, peerAddress, sinceMs, routerId })
      },
      error => {
        log?.error({ err: error }, 'could not start')
        const isKnown = error instanceof WaiterError
        if (!isKnown) console.error(error)
        send({
          kind: 'failed',
          code: isKnown ? error.code : 'WTR_INTERNAL',
          message: isKnown ? error.message : 'internal error while starting',
        })
        setTimeout(() => process.exit(EXIT_FAILED), 100)
      },
    )
  })
}

/** What was told last, for one listener that may come later. */
class Latest<Value> {
  #value: Value | undefined
  #listener: ((value: Value) => void) | undefined

  listen(listener: (value: Value) => void): void {
    this.#listener = listener
    if (this.#value !== undefined) listener(this.#value)
  }

  tell(value: Value): void {
    this.#value = value
    this.#listener?.(value)
  }
}

async function stopAndExit(role: ChildRole | undefined, message: StopMessage, log: Logger | undefined): Promise<void> {
  try {
    await role?.stop(message.graceMs, message)
  } catch (error) {
    log?.error({ err: error }, 'stopping did not go well')
  }
  process.exit(0)
}

function send(message: FromChild): void {
  process.send?.(message)
}
