import { renameSync, statSync } from 'node:fs'
import type { Logger } from '@waiter/base'
import pino from 'pino'

/** Where a process's log goes: to stderr (`--json`), or to a file that is rotated once. */
export type LogTarget =
  | { readonly kind: 'stderr' }
  | { readonly kind: 'file'; readonly path: string; readonly bytesMax: number }

/** A log file may grow beyond its limit by what is written between two looks. */
const ROTATION_CHECK_MS = 10_000

/** Fields that could carry a secret, wherever they occur at the first two levels. */
const REDACTED = [
  'clusterSecret',
  '*.clusterSecret',
  'clusterSecrets',
  '*.clusterSecrets',
  'password',
  '*.password',
  'authorization',
  '*.authorization',
  'cookie',
  '*.cookie',
]

/** One logger per process: JSON lines, secrets redacted, size bounded (the file and one older file). */
export function createLogger(name: string, level: string, target: LogTarget): Logger {
  if (target.kind === 'stderr')
    return pino({ name, level, redact: REDACTED }, pino.destination({ dest: 2, sync: false }))
  const destination = pino.destination({ dest: target.path, sync: false, mkdir: true })
  const rotation = setInterval(() => {
    try {
      if (statSync(target.path).size < target.bytesMax) return
      renameSync(target.path, `${target.path}.1`)
      destination.reopen()
    } catch {
      // The file vanished under us (somebody cleaned up): write to a new one.
      destination.reopen()
    }
  }, ROTATION_CHECK_MS)
  rotation.unref()
  return pino({ name, level, redact: REDACTED }, destination)
}
