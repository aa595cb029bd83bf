import type { Behaviour } from '../../src/contract.ts'
import { healthyCommand, SILENT } from './commands.ts'

/** Commands that behave like this. */
export const COMMANDS: Readonly<Record<Behaviour, string>> = {
  healthy: healthyCommand(),
  fails: 'exit 3',
  silent: SILENT,
  stubborn: healthyCommand('0.0.0.0', 'process.on("SIGTERM",()=>{})'),
}
