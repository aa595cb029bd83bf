import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPrng } from '../../packages/base/src/index.ts'
import { eventually, residentBytes, type StartedWaiter, startWaiter } from '../../packages/testkit/src/index.ts'
import { type BackendCount, countArrivals } from './backends.ts'
import { Clients } from './client.ts'
import { descriptors, type HeapProbe, INSPECTABLE, openHeapProbe, tcpStates } from './heap.ts'
import { Ledger } from './ledger.ts'

const BACKEND = fileURLToPath(new URL('backend.ts', import.meta.url))
const TOKEN = 'soak.example'
const INSTANCES = 3

/** How long and how hard. */
export interface SoakOptions {
  readonly minutes: number
  /** Requests per second. */
  readonly rate: number
  readonly seed: number
  readonly abortShare: number
  /** An instance is killed (-9) this often. */
  readonly killEveryMs: number
  /** A slow reader begins this often. */
  readonly slowEveryMs: number
  /** Told each sample. */
  onSample(sample: Sample): void
}

/** One look at everything, and what happened since the last. */
export interface Sample {
  readonly atSeconds: number
  readonly sent: number
  readonly fates: readonly number[]
  readonly p50Ms: number
  readonly p99Ms: number
  readonly kills: number
  readonly connections: number
  readonly routerRssBytes: number
  readonly routerHeapBytes: number
  readonly routerDescriptors: number
  readonly controlRssBytes: number
  readonly controlHeapBytes: number
}

/** What the router counted for the service. */
export interface RouterCounts {
  readonly total: number
  readonly outstanding: number
  readonly successful: number
  readonly 'client-error': number
  readonly 'generic-error': number
  readonly 'instance-error': number
}

/** Everything that a run found. */
export interface SoakResult {
  readonly samples: readonly Sample[]
  readonly ledger: Ledger
  readonly router: RouterCounts
  readonly backends: BackendCount
  readonly kills: number
  readonly reachedRate: number
  readonly slotsInUse: number
  readonly waiting: number
  readonly descriptorsBefore: Record<string, number>
  readonly descriptorsAfter: Record<string, number>
  readonly tcpAfter: Record<string, number>
}

const TICK_MS = 10
/** Requests behind schedule that are made up for; more than that, the machine was too slow. */
const LAG_MS_MAX = 1_000
const SAMPLE_MS = 60_000
/** Of a short run. */
const SAMPLES_MIN = 6
const FINISH_MS_MAX = 30_000
/** Of a port that nobody uses: `time-wait` is the kernel's own and takes a minute. */
export const QUIET_STATES: ReadonlySet<string> = new Set(['listen', 'time-wait'])
/** Idle connections to backends live for 4 s, those of health checks are closed at once. */
const SETTLE_MS = 8_000

/** Runs Waiter under everything that wears it down, then looks whether anything is left. */
export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-soak-'))
  const logs = join(directory, 'arrivals')
  mkdirSync(logs)
  process.env.NODE_OPTIONS = INSPECTABLE
  const waiter = await startWaiter()
  delete process.env.NODE_OPTIONS
  const observers: Observer[] = []
  try {
    await register(waiter, logs)
    const serviceId = await firstAnswer(waiter)
    for (const role of ['router', 'control'] as const) observers.push(await observe(waiter, role))
    await new Promise(resolve => setTimeout(resolve, SETTLE_MS))
    return await load(options, { waiter, serviceId, logs, observers })
  } finally {
    for (const { probe } of observers) probe.close()
    await waiter.stop()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function register(waiter: StartedWaiter, logs: string): Promise<void> {
  const description = {
    cmd: `exec '${process.execPath}' '${BACKEND}' $PORT0 '${logs}'`,
    version: '1',
    cpus: 0.1,
    mem: 512,
    'concurrency-level': 200,
    'min-instances': INSTANCES,
    'max-instances': INSTANCES,
    // The default would give nearly all requests to the oldest.
    'load-balancing': 'random',
    'health-check-url': '/status',
    'health-check-interval-secs': 5,
  }
  const { status, text } = await waiter.request({
    method: 'POST',
    path: `/token?token=${TOKEN}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(description),
  })
  if (status !== 200) throw new Error(`no token for the backend: ${status} ${text}`)
}

async function firstAnswer(waiter: StartedWaiter): Promise<string> {
  const headers = { 'x-waiter-token': TOKEN }
  const first = await waiter.request({ headers })
  if (first.status !== 200) throw new Error(`the backend is not there: ${first.status} ${first.text}`)
  await eventually(
    () => (waiter.instanceProcesses().filter(isBackend).length === INSTANCES ? true : undefined),
    'all instances',
  )
  return (await waiter.request({ path: '/service-id', headers })).text
}

const isBackend = ({ words }: { readonly words: readonly string[] }): boolean => words.includes(BACKEND)

interface Observer {
  readonly role: 'router' | 'control'
  readonly pid: number
  readonly probe: HeapProbe
}

async function observe(waiter: StartedWaiter, role: 'router' | 'control'): Promise<Observer> {
  const [found] = waiter.processes(role)
  if (found === undefined) throw new Error(`there is no ${role} process`)
  return { role, pid: found.pid, probe: await openHeapProbe(found.pid) }
}

interface Parts {
  readonly waiter: StartedWaiter
  readonly serviceId: string
  readonly logs: string
  readonly observers: readonly Observer[]
}

async function load(options: SoakOptions, parts: Parts): Promise<SoakResult> {
  const { waiter, serviceId, observers } = parts
  const prng = createPrng(options.seed)
  const ledger = new Ledger()
  const clients = new Clients(waiter.port, ledger, prng, {
    abortShare: options.abortShare,
    requestsPerConnectionMax: 200,
    slowPauseMs: 100,
  })
  const countsBefore = await countsOf(waiter, serviceId)
  const descriptorsBefore = countDescriptors(observers)
  const samples: Sample[] = []
  const startedAtMs = performance.now()
  const endsAtMs = startedAtMs + options.minutes * 60_000
  const killing = every(options.killEveryMs, () => killOne(waiter, prng))
  const slowing = every(options.slowEveryMs, () => clients.sendSlow())
  let lastSent = 0
  const look = async (): Promise<void> => {
    const sample = await takeSample({ observers, clients, ledger }, { startedAtMs, lastSent, kills: killing.count() })
    lastSent = ledger.sent
    samples.push(sample)
    options.onSample(sample)
  }
  const sampling = every(Math.min(SAMPLE_MS, (options.minutes * 60_000) / SAMPLES_MIN), look)
  await pace(options.rate, endsAtMs, () => clients.send())
  const reachedRate = ledger.sent / ((performance.now() - startedAtMs) / 1000)
  await Promise.all([killing.stop(), slowing.stop(), sampling.stop()])
  await clients.finish(FINISH_MS_MAX)
  const settled = await settle(parts, descriptorsBefore)
  const router = subtract(await countsOf(waiter, serviceId), countsBefore)
  return {
    samples,
    ledger,
    router,
    backends: countArrivals(parts.logs, ledger),
    kills: killing.count(),
    reachedRate,
    descriptorsBefore,
    ...settled,
  }
}

/** Calls `send` as often as the rate says, open loop: a slow answer does not slow the next request, within limits. */
async function pace(rate: number, endsAtMs: number, send: () => boolean): Promise<void> {
  let dueAtMs = performance.now()
  for (let now = dueAtMs; now < endsAtMs; now = performance.now()) {
    if (now - dueAtMs > LAG_MS_MAX) dueAtMs = now - LAG_MS_MAX
    for (; dueAtMs <= now && send(); dueAtMs += 1000 / rate);
    await new Promise(resolve => setTimeout(resolve, TICK_MS))
  }
}

interface Repeating {
  count(): number
  stop(): Promise<void>
}

function every(periodMs: number, act: () => void | Promise<void>): Repeating {
  let count = 0
  let last: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    count += 1
    last = last.then(act)
  }, periodMs)
  return {
    count: () => count,
    stop: async () => {
      clearInterval(timer)
      await last
    },
  }
}

function killOne(waiter: StartedWaiter, prng: { below(bound: number): number }): void {
  const instances = waiter.instanceProcesses().filter(isBackend)
  const victim = instances[prng.below(Math.max(1, instances.length))]
  if (victim !== undefined) process.kill(victim.pid, 'SIGKILL')
}

async function takeSample(
  { observers, clients, ledger }: { observers: readonly Observer[]; clients: Clients; ledger: Ledger },
  { startedAtMs, lastSent, kills }: { startedAtMs: number; lastSent: number; kills: number },
): Promise<Sample> {
  const latencies = clients.latencies.sort((one, other) => one - other)
  clients.latencies = []
  const quantile = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? Number.NaN
  const [router, control] = observers as [Observer, Observer]
  return {
    atSeconds: Math.round((performance.now() - startedAtMs) / 1000),
    sent: ledger.sent - lastSent,
    fates: [...ledger.counts],
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    kills,
    connections: clients.openConnections,
    routerHeapBytes: await router.probe.usedBytes(),
    controlHeapBytes: await control.probe.usedBytes(),
    routerRssBytes: residentBytes(router.pid) ?? Number.NaN,
    controlRssBytes: residentBytes(control.pid) ?? Number.NaN,
    routerDescriptors: descriptors(router.pid).length,
  }
}

function countDescriptors(observers: readonly Observer[]): Record<string, number> {
  return Object.fromEntries(observers.map(({ role, pid }) => [role, descriptors(pid).length]))
}

/** Waits until everything has come to rest, or says how it stands when it does not. */
async function settle(
  { waiter, serviceId, observers }: Parts,
  before: Record<string, number>,
): Promise<Pick<SoakResult, 'slotsInUse' | 'waiting' | 'descriptorsAfter' | 'tcpAfter'>> {
  const SLACK = 2
  const look = async () => {
    // Before the question below, whose own connection is none of the clients'.
    const tcpAfter = tcpStates(waiter.port)
    const { state } = await waiter.api(`/state/${serviceId}`)
    const instances = Object.values(state['responder-state']['instance-id->state']) as Record<string, number>[]
    return {
      slotsInUse: instances.reduce((sum, instance) => sum + (instance['slots-used'] ?? 0), 0),
      waiting: Number(state['responder-state']['waiting-requests']),
      descriptorsAfter: countDescriptors(observers),
      tcpAfter,
      outstanding: Number(state['request-counts'].outstanding),
    }
  }
  try {
    return await eventually(
      async () => {
        const found = await look()
        const isAtRest = Object.entries(found.descriptorsAfter).every(
          ([role, count]) => count <= (before[role] ?? 0) + SLACK,
        )
        const isQuiet = Object.keys(found.tcpAfter).every(state => QUIET_STATES.has(state))
        return isAtRest && isQuiet && found.slotsInUse + found.waiting + found.outstanding === 0 ? found : undefined
      },
      'everything to come to rest',
      { everyMs: 500, timeoutMs: FINISH_MS_MAX },
    )
  } catch {
    return await look()
  }
}

async function countsOf(waiter: StartedWaiter, serviceId: string): Promise<RouterCounts> {
  return (await waiter.api(`/state/${serviceId}`)).state['request-counts'] as RouterCounts
}

function subtract(after: RouterCounts, before: RouterCounts): RouterCounts {
  const names = Object.keys(before) as (keyof RouterCounts)[]
  return Object.fromEntries(names.map(name => [name, after[name] - before[name]])) as unknown as RouterCounts
}
