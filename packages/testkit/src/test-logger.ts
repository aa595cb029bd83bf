import type { Logger } from '@waiter/base'
import { createRecorder, type Recorder } from './wait.ts'

/** One call of a logger. */
export interface LogRecord {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: Readonly<Record<string, unknown>>
  readonly message: string
}

/** A logger that remembers, so that tests can look at log lines and wait for them. */
export interface TestLogger extends Logger {
  readonly records: Recorder<LogRecord>
}

/** Starts with no records. */
export function createTestLogger(): TestLogger {
  const records = createRecorder<LogRecord>()
  const at =
    (level: LogRecord['level']) =>
    (fields: LogRecord['fields'], message: string): void =>
      records.push({ level, fields, message })
  return { records, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
