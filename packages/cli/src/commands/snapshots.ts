import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseSnapshotFile } from '@waiter/store/port'
import type { CommandContext } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { numberOf } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { onlyCluster } from './cluster.ts'

/** It holds what tokens hold, secrets of services as well. */
const MODE = 0o600

/** `waiter cluster snapshot FILE`: the file is there whole and checked, or as it was before. */
export async function takeSnapshot(context: CommandContext, file: string): Promise<number> {
  const api = onlyCluster(context)
  const bytes = await api.takeSnapshot()
  const { entries } = parseSnapshotFile(bytes)
  writeWhole(file, bytes)
  context.io.out(printable(`${entries.length} entries of ${labelOf(api.cluster)} are in ${file}.`))
  return EXIT.ok
}

/** `waiter cluster restore FILE`. */
export async function restoreSnapshot(
  context: CommandContext,
  file: string,
  { force = false }: { readonly force?: boolean },
): Promise<number> {
  const api = onlyCluster(context)
  const bytes = readSnapshot(file)
  const { header } = parseSnapshotFile(bytes)
  const restored = await api.restoreSnapshot(bytes.toString('utf8'), force)
  const removed = numberOf(restored, 'removed')
  const pieces = numberOf(restored, 'pieces')
  const how = pieces > 1 ? ` (in ${pieces} pieces: it was too large to take effect all at once)` : ''
  context.io.out(
    printable(
      `${numberOf(restored, 'written')} entries of cluster ${header.cluster} as of ${header.created} are in ` +
        `${labelOf(api.cluster)}${removed === 0 ? '' : `; ${removed} others were removed`}${how}.`,
    ),
  )
  return EXIT.ok
}

function readSnapshot(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw cliError('document', `cannot read ${file}: ${(error as Error).message}`, error)
  }
}

function writeWhole(file: string, bytes: Buffer): void {
  const temporary = `${file}.tmp-${process.pid}`
  try {
    const descriptor = openSync(temporary, 'wx', MODE)
    try {
      writeFileSync(descriptor, bytes)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    renameSync(temporary, file)
    const directory = openSync(dirname(file), 'r')
    try {
      fsyncSync(directory)
    } finally {
      closeSync(directory)
    }
  } catch (error) {
    rmSync(temporary, { force: true })
    throw cliError('document', `cannot write ${file}: ${(error as Error).message}`, error)
  }
}
