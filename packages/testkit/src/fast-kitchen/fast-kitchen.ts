import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** One way to run the hello-world backend. */
export interface FastKitchen {
  readonly name: string
  /** A shell command line that listens on `$PORT0`. */
  readonly command: string
  readonly isAvailable: boolean
}

/** All ways, quickest start first (measured: see README.md and `measure.ts`). */
export function listFastKitchens(): readonly FastKitchen[] {
  const perl = firstExisting(['/usr/bin/perl', '/usr/local/bin/perl'])
  const python = firstExisting(['/usr/bin/python3', '/usr/local/bin/python3'])
  return [
    // The script's socket constants are Linux's.
    {
      name: 'perl',
      command: `exec ${perl} ${script('fast-kitchen.pl')} $PORT0`,
      isAvailable: perl !== undefined && process.platform === 'linux',
    },
    {
      name: 'python',
      command: `exec ${python} -I -S ${script('fast-kitchen.py')} $PORT0`,
      isAvailable: python !== undefined,
    },
    {
      name: 'node',
      command: `exec ${quote(process.execPath)} ${script('fast-kitchen.cjs')} $PORT0`,
      isAvailable: true,
    },
  ]
}

/**
 * The command line of the hello-world backend that starts quickest on this machine; listens on `$PORT0`, all
 * interfaces, and keeps connections alive. For measuring cold starts: what remains is Waiter's own share.
 */
export function fastKitchenCommand(): string {
  return (listFastKitchens().find(({ isAvailable }) => isAvailable) as FastKitchen).command
}

function firstExisting(paths: readonly string[]): string | undefined {
  return paths.find(path => existsSync(path))
}

function script(name: string): string {
  return quote(fileURLToPath(new URL(name, import.meta.url)))
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}
