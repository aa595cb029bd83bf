// `npm test [-- --jobs=N --timeout=SECONDS files or folders]`: installs what is missing, runs the tests on the pinned
// Node, prints one line a file and, of a failing file, its whole report. The last line is `N passed, N failed`.
//
// A test file is a program that prints TAP, and is run as one. The `tap` command would load its records of what reads
// which file into every Node that a test starts, Waiter's own processes included: that is for coverage (`npm run
// coverage`), costs a third of the processor's time, and makes what is tested something else than what users run.
import { readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureInstalled, ROOT } from './lib/install.mjs'
import { runTestFile } from './lib/run-test-file.mjs'

/** More than there are cores here (2): many tests wait for other processes, or for time to pass. */
const JOBS = 3
/** A file takes a quarter of a minute at most where nothing else runs; where much else does, ten times that. */
const TIMEOUT_SECS = 240

const { options, wanted } = readArguments()
ensureInstalled({ dev: true })
const waiting = wanted.length === 0 ? listTests() : wanted.flatMap(findTests)
const running = new Set()
const interrupt = signal => {
  waiting.length = 0
  for (const { stop } of running) stop(signal)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interrupt(signal))

let passed = 0
let failed = 0
await Promise.all(Array.from({ length: options.jobs }, work))
if (passed + failed === 0) {
  console.log('no test ran')
  failed += 1
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)

async function work() {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const run = runTestFile(file, { timeoutMs: options.timeout * 1000 })
    running.add(run)
    const { counts, report, problem, seconds } = await run.ended
    running.delete(run)
    const isGood = problem === undefined && counts.failed === 0
    passed += counts.passed
    // A file that dies without a failed assertion is one failure of its own.
    failed += isGood ? 0 : Math.max(1, counts.failed)
    if (!isGood) console.log(`\n${report.join('\n')}${problem === undefined ? '' : `\n${problem}`}`)
    console.log(`${isGood ? 'passed' : 'FAILED'} ${file} (${seconds.toFixed(1)} s)`)
  }
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      options: { jobs: { type: 'string' }, timeout: { type: 'string' } },
      allowPositionals: true,
    })
    return {
      options: { jobs: readCount(values.jobs, JOBS), timeout: readCount(values.timeout, TIMEOUT_SECS) },
      wanted: positionals,
    }
  } catch (error) {
    console.error(`npm test: ${error.message}\nIt takes --jobs=N, --timeout=SECONDS, files and folders.`)
    process.exit(2)
  }
}

function readCount(text, byDefault) {
  if (text === undefined) return byDefault
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new Error(`"${text}" is not a whole number from 1 to 99999`)
  return Number(text)
}

/** Those of the whole first: they take the longest, and short ones at the end leave no job waiting for another. */
function listTests() {
  const packages = readdirSync(join(ROOT, 'packages')).sort()
  return ['test', ...packages.map(name => `packages/${name}/test`)].flatMap(findTests)
}

/** A file as it is, or the test files below a folder, as paths from the root. */
function findTests(path) {
  const found = statSync(join(ROOT, path), { throwIfNoEntry: false })
  if (found === undefined) {
    console.error(`npm test: there is no ${path}`)
    process.exit(2)
  }
  if (found.isFile()) return [path]
  return readdirSync(join(ROOT, path), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map(entry => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
    .sort()
}
