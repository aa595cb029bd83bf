import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { cliError } from '../errors.ts'
import type { Io } from '../io.ts'

const FILE_BYTES_MAX = 4 * 1024 * 1024

/** A file that somebody wrote, as text; `-` is standard input. */
export async function readText(io: Io, name: string): Promise<string> {
  if (name === '-') return await io.readStdin(FILE_BYTES_MAX)
  const path = resolve(io.workingDirectory, name)
  try {
    // A pipe has no size: it is looked at again when it has been read.
    const text = statSync(path).size > FILE_BYTES_MAX ? undefined : readFileSync(path, 'utf8')
    if (text === undefined || text.length > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`)
    return text
  } catch (error) {
    throw cliError('document', `cannot read ${name}: ${(error as Error).message}`, error)
  }
}

/** As messages call it. */
export function nameOf(file: string): string {
  return file === '-' ? 'standard input' : file
}
