import { Fate } from './ledger.ts'
import { QUIET_STATES, type Sample, type SoakResult } from './run.ts'

/** One thing that must hold, and how it stands. */
export interface Check {
  readonly what: string
  readonly holds: boolean
  readonly figures: string
}

const GROWTH_MAX = 0.1
/** Below this, growth is noise of the collector and the allocator, whatever its share. */
const GROWTH_BYTES_MIN = 4 * 1024 * 1024
const DESCRIPTORS_SLACK = 2
const RATE_SHARE_MIN = 0.97
const LEAVING_SHARE_MIN = 0.09
/** Shares of the run: what comes before is warm-up. */
const WARM_UP_SHARE = 0.2

/** Holds the client's ledger, the router's counters and the backends' notes against each other, and looks for leaks. */
export function judgeSoak(result: SoakResult, wantedRate: number): Check[] {
  const { ledger, router, backends, samples } = result
  const count = (fate: number): number => ledger.counts[fate] ?? 0
  const failed = count(Fate.ERROR) + count(Fate.BROKEN)
  const aborted = count(Fate.ABORTED)
  const sum = router.successful + router['client-error'] + router['generic-error'] + router['instance-error']
  const check = (what: string, holds: boolean, figures: string): Check => ({ what, holds, figures })
  return [
    check(
      'the rate was kept',
      result.reachedRate >= wantedRate * RATE_SHARE_MIN,
      `${result.reachedRate.toFixed(0)} of ${wantedRate} requests/s`,
    ),
    check(
      'about a tenth of the clients left',
      aborted >= ledger.sent * LEAVING_SHARE_MIN,
      `${((100 * aborted) / ledger.sent).toFixed(1)} %`,
    ),
    check('every request has an end', count(Fate.SENT) === 0, `${count(Fate.SENT)} without`),
    check('no connection ended without an answer', count(Fate.UNANSWERED) === 0, `${count(Fate.UNANSWERED)} did`),
    check(
      'the router counted what was sent',
      router.total === ledger.sent,
      `${router.total} counted, ${ledger.sent} sent`,
    ),
    check(
      'its endings add up',
      sum === router.total && router.outstanding === 0,
      `${sum} ended, ${router.outstanding} outstanding`,
    ),
    check(
      'whoever got an answer counts as successful',
      count(Fate.OK) <= router.successful && router.successful <= count(Fate.OK) + aborted,
      `${count(Fate.OK)} answered, ${router.successful} successful`,
    ),
    check(
      'only who left counts as a client’s error',
      router['client-error'] <= aborted,
      `${router['client-error']} of ${aborted} that left; the others had their answer`,
    ),
    check(
      'only what an instance or the queue spoilt failed',
      failed <= router['instance-error'] + router['generic-error'] &&
        router['instance-error'] + router['generic-error'] <= failed + aborted,
      `${failed} failed for clients, ${router['instance-error']} instance errors, ${router['generic-error']} others`,
    ),
    check('backends know no request that nobody sent', backends.unknown === 0, String(backends.unknown)),
    check('no answer came from nobody', backends.answeredByNobody === 0, String(backends.answeredByNobody)),
    check(
      'what may not be repeated was not',
      backends.wronglyRepeated === 0,
      `${backends.wronglyRepeated}; ${backends.repeated} others were repeated`,
    ),
    check(
      'slots are back',
      result.slotsInUse === 0 && result.waiting === 0,
      `${result.slotsInUse} in use, ${result.waiting} waiting`,
    ),
    ...Object.entries(result.descriptorsBefore).map(([role, before]) => {
      const after = result.descriptorsAfter[role] ?? 0
      return check(
        `descriptors of the ${role} are back`,
        after <= before + DESCRIPTORS_SLACK,
        `${before} before, ${after} after`,
      )
    }),
    check(
      'no connection to the router’s port is left',
      Object.keys(result.tcpAfter).every(state => QUIET_STATES.has(state)),
      JSON.stringify(result.tcpAfter),
    ),
    ...(['routerHeapBytes', 'routerRssBytes', 'controlHeapBytes', 'controlRssBytes'] as const).map(name => {
      const [early, late] = earlyAndLate(samples, name)
      const holds = !(late - early > Math.max(early * GROWTH_MAX, GROWTH_BYTES_MIN))
      return check(`${name} stays flat`, holds, `${mib(early)} early, ${mib(late)} late`)
    }),
  ]
}

/** Medians of the first and the last third behind the warm-up. */
function earlyAndLate(samples: readonly Sample[], name: keyof Sample): [number, number] {
  const warm = samples.slice(Math.floor(samples.length * WARM_UP_SHARE))
  const third = Math.max(1, Math.floor(warm.length / 3))
  const median = (values: readonly Sample[]): number => {
    const sorted = values.map(sample => Number(sample[name])).sort((one, other) => one - other)
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  }
  return [median(warm.slice(0, third)), median(warm.slice(-third))]
}

const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
