import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startWaiter } from '@waiter/testkit'
import t from 'tap'

/** A command of a document and what it is said to print. */
interface Example {
  readonly command: string
  readonly output: readonly string[]
}

/** Longer than any example takes; a hanging one fails the test instead of stopping it. */
const EXAMPLE_TIMEOUT_MS = 30_000

/** Commands that are run; all else in a console block is for people. */
const IS_RUN = /^(?:curl|waiter) /
/** `waiter` as it is after `npm link`. */
const BIN = resolve('packages/cli/bin/waiter.mjs')

for (const file of ['README.md', 'docs/services.md', 'docs/api.md', 'docs/cli.md']) {
  t.test(`the examples of ${file} do what it says`, async t => {
    const examples = readExamples(readFileSync(file, 'utf8')).filter(example => IS_RUN.test(example.command))
    t.ok(examples.length > 0, 'there are examples')
    const waiter = await startWaiter()
    t.teardown(() => waiter.stop())
    const config = join(
      t.testdir({ 'waiter.json': JSON.stringify({ clusters: [{ name: 'local', url: waiter.url }] }) }),
      'waiter.json',
    )
    for (const { command, output } of examples) {
      const local = command.replaceAll('127.0.0.1:9091', `127.0.0.1:${waiter.port}`)
      const program = `waiter() { '${process.execPath}' '${BIN}' --config '${config}' "$@"; }\n${local}`
      const { stdout } = await promisify(execFile)('bash', ['-c', program], { timeout: EXAMPLE_TIMEOUT_MS })
      t.same(missingLines(output, stdout), [], `${command.split('\n', 1)[0]} prints:\n${stdout}`)
    }
  })
}

/** The `$ ` lines of console blocks; a command goes on while a quote is open or a line ends with a backslash. */
function readExamples(markdown: string): Example[] {
  const examples: Example[] = []
  for (const [, block] of markdown.matchAll(/```console\n(.*?)```/gs)) {
    for (const text of (block as string).split(/^\$ /m).slice(1)) {
      const lines = text.trimEnd().split('\n')
      let length = 1
      while (length < lines.length && isOpen(lines.slice(0, length).join('\n'))) length += 1
      examples.push({ command: lines.slice(0, length).join('\n'), output: lines.slice(length) })
    }
  }
  return examples
}

function isOpen(command: string): boolean {
  return command.endsWith('\\') || (command.split("'").length - 1) % 2 === 1
}

/** Documented lines that were not printed, in this order; numbers and blanks may differ, and `…` stands for anything. */
function missingLines(documented: readonly string[], printed: string): string[] {
  const lines = printed.split('\n').map(normalise)
  let at = 0
  return documented.filter(line => {
    if (line.trim() === '…') return false
    const found = lines.indexOf(normalise(line), at)
    if (found < 0) return true
    at = found + 1
    return false
  })
}

function normalise(line: string): string {
  return line
    .trim()
    .replace(/ +/g, ' ')
    .replace(/\d+(?:\.\d+)?/g, 'N')
}
