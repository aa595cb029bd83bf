import type { InstanceId } from '@waiter/base'

const MS_PER_MINUTE = 60_000

export type ExpiryReason = 'flagged' | 'failing' | 'too-old'

export interface ExpiredInstance {
  readonly instanceId: InstanceId
  readonly reason: ExpiryReason
}

export interface DecideExpiredInput {
  readonly instances: readonly {
    readonly instanceId: InstanceId
    readonly startedAtMs: number
    readonly flags: readonly string[]
  }[]
  readonly nowMs: number
  /** `instance-expiry-mins`; 0: age does not matter. */
  readonly instanceExpiryMins: number
  /** What any router reports as failing again and again (`suspectInstances` of its reservation machine). */
  readonly suspects: ReadonlySet<InstanceId>
}

export interface ExpiredInstances {
  readonly expired: readonly ExpiredInstance[]
  /** When the next instance becomes too old; `Infinity` when none will. */
  readonly nextExpiryMs: number
}

/**
 * Says which instances are to be replaced: flagged by the scheduler, failing, or too old (rules X1 to X4, spec §5.2).
 * How many at a time is up to `decideScale`.
 */
export function decideExpired(input: DecideExpiredInput): ExpiredInstances {
  const expired: ExpiredInstance[] = []
  let nextExpiryMs = Number.POSITIVE_INFINITY
  for (const instance of input.instances) {
    const expiresAtMs = expiryOf(instance.startedAtMs, input.instanceExpiryMins)
    const reason = reasonOf(instance, input, expiresAtMs)
    if (reason === undefined) nextExpiryMs = Math.min(nextExpiryMs, expiresAtMs)
    else expired.push({ instanceId: instance.instanceId, reason })
  }
  return { expired, nextExpiryMs }
}

function expiryOf(startedAtMs: number, instanceExpiryMins: number): number {
  return instanceExpiryMins > 0 ? startedAtMs + instanceExpiryMins * MS_PER_MINUTE : Number.POSITIVE_INFINITY
}

function reasonOf(
  instance: DecideExpiredInput['instances'][number],
  input: DecideExpiredInput,
  expiresAtMs: number,
): ExpiryReason | undefined {
  if (instance.flags.includes('expired')) return 'flagged'
  if (input.suspects.has(instance.instanceId)) return 'failing'
  return input.nowMs >= expiresAtMs ? 'too-old' : undefined
}
