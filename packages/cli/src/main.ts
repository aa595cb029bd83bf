/** `waiter`: the process around the command line. */
import { homedir } from 'node:os'
import { WaiterError } from '@waiter/base'
import { exitCodeOf } from './errors.ts'
import { createProcessIo } from './io.ts'
import { runProgram } from './program.ts'

// Whoever started us is gone (killed, not stopped). The channel itself must not keep this process alive.
process.on('disconnect', () => process.exit(1))
process.channel?.unref()

const io = createProcessIo(homedir())
try {
  process.exitCode = await runProgram(process.argv.slice(2), io)
} catch (error) {
  if (error instanceof WaiterError) io.err(`waiter: ${error.message}`)
  else {
    io.err('waiter: a bug kept this command from ending well')
    console.error(error)
  }
  process.exitCode = exitCodeOf(error)
}
