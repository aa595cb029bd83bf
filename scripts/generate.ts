/**
 * `npm run gen`: proto/ → packages/control/src/generated. `npm run gen:check`: fails when the generated code is stale.
 * Nothing is fetched: the compiler and the plugin come from node_modules.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const TARGET = 'packages/control/src/generated'
const isCheck = process.argv.includes('--check')

const output = mkdtempSync(join(tmpdir(), 'waiter-gen-'))
try {
  run('node_modules/.bin/buf', ['lint'])
  run('node_modules/.bin/buf', ['generate', '--output', output])
  const fresh = join(output, TARGET)
  if (!isCheck) {
    rmSync(TARGET, { recursive: true, force: true })
    cpSync(fresh, TARGET, { recursive: true })
  } else if (contentOf(fresh) !== contentOf(TARGET)) {
    console.error(`${TARGET} does not match proto/: run npm run gen and commit the result`)
    process.exit(1)
  }
} finally {
  rmSync(output, { recursive: true, force: true })
}

function run(command: string, args: string[]): void {
  const result = spawnSync(command, args, { stdio: ['ignore', 2, 2] })
  if (result.status !== 0) process.exit(1)
}

function contentOf(directory: string): string {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'))
  return files
    .sort()
    .map(name => `${name}\n${readFileSync(join(directory, name), 'utf8')}`)
    .join('\n')
}
