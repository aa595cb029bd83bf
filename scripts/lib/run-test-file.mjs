// Runs on the machine's own Node (20 or newer): plain JavaScript, no dependencies.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { pinnedNode, ROOT, toolEnvironment } from './install.mjs'

/** For a file that is told that it took too long, to say what it was waiting for. */
const LAST_WORDS_MS = 10_000

/**
 * Runs one test file and reads the TAP that it prints.
 *
 * @param {string} file from the root
 * @param {{ timeoutMs: number }} options a file may set another one for itself (`t.setTimeout`)
 */
export function runTestFile(file, { timeoutMs }) {
  const startedMs = performance.now()
  const child = spawn(pinnedNode(), [file], {
    cwd: ROOT,
    env: { ...toolEnvironment(), TAP: '1', TAP_TIMEOUT: String(timeoutMs / 1000) },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  let lateMs
  let timers = []
  const limit = ms => {
    timers.forEach(clearTimeout)
    lateMs = undefined
    // It ends itself in time, unless it never lets its timers run.
    timers = [
      setTimeout(() => {
        lateMs = ms
        child.kill('SIGALRM')
      }, ms + LAST_WORDS_MS),
      setTimeout(() => child.kill('SIGKILL'), ms + 2 * LAST_WORDS_MS),
    ]
  }
  limit(timeoutMs)
  child.on('message', message => {
    if (Number.isFinite(message?.setTimeout)) limit(message.setTimeout)
  })
  const finish = async () => {
    const { counts, report, hasPlan } = await readTap(child.stdout)
    const how = await end
    timers.forEach(clearTimeout)
    let problem
    if (lateMs !== undefined) problem = `${file}: did not end within ${lateMs / 1000} s`
    else if (how !== 0) problem = `${file}: ended with ${how}`
    else if (!hasPlan) problem = `${file}: ended before it had said how many tests it has`
    return { counts, report, problem, seconds: (performance.now() - startedMs) / 1000 }
  }
  const end = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? signal))
  })
  return { ended: finish(), stop: signal => void child.kill(signal) }
}

async function readTap(stream) {
  const counts = { passed: 0, failed: 0 }
  const report = []
  let hasPlan = false
  for await (const line of createInterface({ input: stream })) {
    const assertion = /^ *(not )?ok \d+/.exec(line)
    // Leaves only: a line that closes a subtest repeats what was counted inside it, and follows its plan line. One
    // without any (`1..0`: its assertions throw) counts as one.
    if (assertion && !/^ *1\.\.[1-9]/.test(report.at(-1) ?? '')) {
      if (assertion[1]) counts.failed += 1
      else counts.passed += 1
    }
    if (/^1\.\.\d/.test(line)) hasPlan = true
    report.push(line)
  }
  return { counts, report, hasPlan }
}
