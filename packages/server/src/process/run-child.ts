import { type Logger, WaiterError } from '@waiter/base'
import { createLogger } from '../logging.ts'
import type { ChildAddresses, FromChild, StartMessage, ToChild } from './messages.ts'

/** What a child runs: started once, stopped once. */
export interface ChildRole extends ChildAddresses {
  /** Finishes what runs within `graceMs`, then releases everything. */
  stop(graceMs: number): Promise<void>
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
  start: (message: Start, log: Logger) => Promise<ChildRole>,
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
  process.on('message', (message: ToChild) => {
    if (message.kind === 'stop') {
      void stopAndExit(role, message.graceMs, log)
      return
    }
    if (message.kind !== kind) return
    log = createLogger(`${message.nodeId}-${kind.replace('start-', '')}`, message.settings.log.level, message.log)
    start(message as Start, log).then(
      started => {
        role = started
        send({ kind: 'ready', address: started.address, secureAddress: started.secureAddress })
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

async function stopAndExit(role: ChildRole | undefined, graceMs: number, log: Logger | undefined): Promise<void> {
  try {
    await role?.stop(graceMs)
  } catch (error) {
    log?.error({ err: error }, 'stopping did not go well')
  }
  process.exit(0)
}

function send(message: FromChild): void {
  process.send?.(message)
}
