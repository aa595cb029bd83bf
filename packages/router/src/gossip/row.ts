import type { InstanceId, ServiceId } from '@waiter/base'
import { z } from 'zod'

/** What a router says of itself. */
export interface AboutRouter {
  readonly routerId: string
  readonly nodeId: string
  readonly version: string
  readonly httpUrl: string
  /** Where it lends slots. */
  readonly peerAddress: string
}

/** A router leaves an instance alone. How long is the lifetime of the entry. */
export interface Observation {
  readonly serviceId: ServiceId
  readonly failures: number
  /** Tells one ejection from the next. */
  readonly ejection: number
}

export const ABOUT_KEY = 'about'
/** p99 of the event loop's delay, in milliseconds, rounded up to a few steps. */
export const LOOP_KEY = 'loop-p99-ms'
export const LOAD_PREFIX = 'load/'
export const EJECTED_PREFIX = 'ejected/'

const aboutSchema = z.strictObject({
  router: z.string().max(256),
  node: z.string().max(128),
  version: z.string().max(64),
  http: z.string().max(512),
  peers: z.string().max(512),
})

const observationSchema = z.strictObject({
  service: z.string().min(1).max(256),
  failures: z.int().min(0),
  ejection: z.int().min(0),
})

const LOAD = /^(\d{1,9}) (\d{1,9})$/

export function renderAbout(about: AboutRouter): string {
  const { routerId: router, nodeId: node, version, httpUrl: http, peerAddress: peers } = about
  return JSON.stringify({ router, node, version, http, peers })
}

/** Undefined: it makes no sense, for example because a later version wrote it. */
export function parseAbout(text: string | undefined): AboutRouter | undefined {
  const parsed = aboutSchema.safeParse(jsonOf(text))
  if (!parsed.success) return undefined
  const { router, node, version, http, peers } = parsed.data
  return { routerId: router, nodeId: node, version, httpUrl: http, peerAddress: peers }
}

export function renderObservation({ serviceId: service, failures, ejection }: Observation): string {
  return JSON.stringify({ service, failures, ejection })
}

export function parseObservation(text: string): Observation | undefined {
  const parsed = observationSchema.safeParse(jsonOf(text))
  if (!parsed.success) return undefined
  const { service, failures, ejection } = parsed.data
  return { serviceId: service, failures, ejection }
}

export const ejectedKey = (instanceId: InstanceId): string => EJECTED_PREFIX + instanceId

/** Requests of a service at one router. */
export interface Load {
  readonly outstanding: number
  readonly waiting: number
}

export function renderLoad({ outstanding, waiting }: Load): string {
  return `${outstanding} ${waiting}`
}

export function parseLoad(text: string): Load | undefined {
  const found = LOAD.exec(text)
  return found === null ? undefined : { outstanding: Number(found[1]), waiting: Number(found[2]) }
}

const LOOP_STEPS_MS = [0, 10, 20, 50, 100, 200, 500, 1_000] as const

/** Rounded up, so that it stays the same while nothing happens. */
export function roundLoopDelay(delayMs: number): number {
  const last = LOOP_STEPS_MS[LOOP_STEPS_MS.length - 1] as number
  // A timer of whole milliseconds is one late at rest.
  const JITTER_MS = 2
  if (delayMs <= JITTER_MS) return 0
  return LOOP_STEPS_MS.find(step => delayMs <= step) ?? Math.ceil(delayMs / last) * last
}

/** The services with the most to do, so many at most; those without anything to do are left out. */
export function chooseLoads<Row extends Load>(rows: Iterable<Row>, countMax: number): readonly Row[] {
  const busy = [...rows].filter(({ outstanding, waiting }) => outstanding + waiting > 0)
  if (busy.length <= countMax) return busy
  return busy.sort((a, b) => b.outstanding - a.outstanding || b.waiting - a.waiting).slice(0, countMax)
}

function jsonOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
