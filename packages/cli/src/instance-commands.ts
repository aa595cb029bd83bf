import type { Command } from 'commander'
import { type AddCommand, wholeNumber } from './add-command.ts'

const TIMEOUT_S_MAX = 3_600

/** `waiter ssh`. */
export function addInstanceCommands(add: AddCommand): void {
  addChoice(
    add('ssh <destination> [command...]', 'a shell where an instance runs', async (context, name, words, options) => {
      const { ssh } = await import('./commands/ssh.ts')
      return await ssh(context, name, words, options)
    }),
  )
    .option('-q, --quick', 'without asking (it never asks)')
    .option('--no-active', 'none of those that run')
    .option('--failed', 'those that failed, too', false)
    .option('--killed', 'those that were stopped, too', false)
    .passThroughOptions()
}

/** `waiter instance expire|kill`. */
export function addInstanceSignals(add: AddCommand, parent: Command): void {
  for (const [kind, meaning] of [
    ['expire', 'replace an instance: a new one starts, then it stops'],
    ['kill', 'stop an instance'],
  ] as const) {
    const command = addChoice(
      add(
        `${kind} <destination>`,
        meaning,
        async (context, name, options) => {
          const { signalInstance } = await import('./commands/instance.ts')
          return await signalInstance(context, kind, name, options)
        },
        parent,
      ),
    )
    if (kind === 'kill')
      command
        .option('-f, --force', 'at once, whatever runs there')
        .option('--timeout <seconds>', 'how long what runs there may go on', wholeNumber(0, TIMEOUT_S_MAX))
  }
}

function addChoice(command: Command): Command {
  return command
    .option('-t, --token', 'the destination is a token (else a token or the id of a service)')
    .option('-s, --service-id', 'it is the id of a service')
    .option('-i, --instance-id', 'it is the id of an instance')
}
