// `npm test [-- files or tap options]`: installs what is missing, runs the tests on the pinned Node, prints one line a
// file and, of a failing file, its whole report. The last line is `N passed, N failed`.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ensureInstalled, pinnedNode, ROOT, toolEnvironment } from './lib/install.mjs'

ensureInstalled({ dev: true })

const tap = spawn(
  pinnedNode(),
  [join(ROOT, 'node_modules/tap/dist/esm/run.mjs'), '--reporter=tap', '--disable-coverage', ...process.argv.slice(2)],
  { cwd: ROOT, env: toolEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] },
)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => tap.kill(signal))

let block = []
let passed = 0
let failed = 0
for await (const line of createInterface({ input: tap.stdout })) {
  const assertion = /^ *(not )?ok \d+/.exec(line)
  const file = /^(not )?ok \d+ - (\S+)(?:.*# time=([\d.]+)(m?s))?/.exec(line)
  if (file) {
    const seconds = file[3] === undefined ? '' : ` (${(Number(file[3]) / (file[4] === 'ms' ? 1000 : 1)).toFixed(1)} s)`
    if (file[1]) console.log(`\n${[...block, line].join('\n')}`)
    console.log(`${file[1] ? 'FAILED' : 'passed'} ${file[2]}${seconds}`)
    // A file that dies without an assertion (crash, time-out) is one failure of its own.
    if (file[1] && !block.some(entry => /^ +not ok/.test(entry))) failed += 1
    block = []
    continue
  }
  // Leaves only: a line that closes a subtest repeats what was counted inside it, and follows its plan line. One without
  // any (`1..0`: its assertions throw) counts as one.
  if (assertion && !/^ *1\.\.[1-9]/.test(block.at(-1) ?? '')) {
    if (assertion[1]) failed += 1
    else passed += 1
  }
  block.push(line)
}
const code = await new Promise(resolve => (tap.exitCode === null ? tap.on('exit', resolve) : resolve(tap.exitCode)))
if (passed + failed === 0) {
  console.log('no test ran')
  failed += 1
} else if (code !== 0 && failed === 0) failed += 1
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
