import type { InstanceRecord } from './scheduler.ts'

/** Ended instances shown per service (spec §5.2), newest first to stay. */
const FAILED_RECORDS_MAX = 10
const KILLED_RECORDS_MAX = 12

/** Ended instances in the order of their end, without those that are too many. */
export function keepNewestEnded(ended: readonly InstanceRecord[]): readonly InstanceRecord[] {
  const kept = new Set([
    ...ended.filter(record => record.state === 'failed').slice(-FAILED_RECORDS_MAX),
    ...ended.filter(record => record.state === 'killed').slice(-KILLED_RECORDS_MAX),
  ])
  return ended.filter(record => kept.has(record))
}
