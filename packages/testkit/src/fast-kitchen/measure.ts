/** Prints how quickly each backend starts: `node packages/testkit/src/fast-kitchen/measure.ts [runs]`. */
import { measureStart } from '../measure-start.ts'
import { kitchenCommand } from '../start-kitchen.ts'
import { listFastKitchens } from './fast-kitchen.ts'

const runs = Number(process.argv[2] ?? 20)
const rows = [
  ...listFastKitchens().filter(({ isAvailable }) => isAvailable),
  { name: 'kitchen', command: kitchenCommand() },
  { name: 'kitchen, cold', command: kitchenCommand().replace(/env NODE_COMPILE_CACHE=\S+ /, '') },
]
process.stdout.write(`spawn to first 200, ${runs} runs\n`)
for (const { name, command } of rows) {
  const { medianMs, minMs, maxMs } = await measureStart(command, runs)
  const columns = [`median ${medianMs.toFixed(1)} ms`, `min ${minMs.toFixed(1)}`, `max ${maxMs.toFixed(1)}`]
  process.stdout.write(`${name.padEnd(16)}${columns.join('   ')}\n`)
}
