/**
 * `npm run bench:step [-- --json] [--steps 40] [--clients 50] [--nodes 3]`: how soon the leader answers a burst. A service
 * with one client gets fifty at once; measured is the time from the first of them to the first command to the scheduler.
 * Method: README.md. The last line of `--json` is the result.
 */
import { parseArgs } from 'node:util'
import { startWaiter } from '../../packages/testkit/src/index.ts'
import { percentileOf } from '../load/percentile.ts'
import { runStep } from './step.ts'

const COMMAND_MS_MAX = 250
const STEPS_MAX = 500
const CLIENTS_MAX = 200

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    steps: { type: 'string', default: '40' },
    clients: { type: 'string', default: '50' },
    nodes: { type: 'string', default: '3' },
  },
})
const steps = Math.min(STEPS_MAX, Number(values.steps))
const clients = Math.min(CLIENTS_MAX, Number(values.clients))

const waiter = await startWaiter({ args: ['--nodes', values.nodes] })
try {
  const commandMs: number[] = []
  const slotMs: number[] = []
  for (let index = 0; index < steps; index++) {
    const step = await runStep({ waiter, token: `step-${index}`, clients })
    console.error(`step ${index + 1}: ${JSON.stringify(step)}`)
    commandMs.push(step.commandMs)
    slotMs.push(step.secondInstanceMs)
  }
  const result = {
    nodes: Number(values.nodes),
    steps,
    clients,
    commandMs: figuresOf(commandMs),
    /** Until another instance than the first has answered. */
    secondInstanceMs: figuresOf(slotMs),
    passed: percentileOf(commandMs, 99) <= COMMAND_MS_MAX,
  }
  console.log(JSON.stringify(result, null, values.json ? undefined : 2))
  process.exitCode = result.passed ? 0 : 1
} finally {
  await waiter.stop()
}

function figuresOf(all: readonly number[]): Record<string, number> {
  return { p50: percentileOf(all, 50), p99: percentileOf(all, 99), max: Math.max(...all) }
}
