import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compare, complete, type Difference } from './compare.ts'
import { converse } from './converse.ts'
import { generateCases, type OddCase } from './generate.ts'
import type { Observation, SeenRequest } from './observation.ts'
import { type StartedProxy, startHaproxy, startNginx, startWaiterProxy } from './proxies.ts'
import { RULES, type Rule } from './rules.ts'
import { namesTheService, type Reading, readStrictly } from './strict-reading.ts'

/** What is to be run. */
export interface DifferentialOptions {
  readonly cases: number
  readonly seed: number
  /** Told about progress. */
  readonly print?: (line: string) => void
}

/** A difference and what explains it. */
export interface Finding {
  readonly oddCase: OddCase
  readonly peer: string
  readonly difference: Difference
  readonly rule: Rule | undefined
}

/** What a run found. */
export interface DifferentialResult {
  readonly cases: number
  readonly seed: number
  readonly peers: readonly string[]
  readonly findings: readonly Finding[]
  /** Where Waiter itself did not do what the rules say; one line each. */
  readonly faults: readonly string[]
  /** For each rule by which Waiter refuses: how many cases, and how many of them each peer refused as well. */
  readonly refusals: ReadonlyMap<string, { cases: number; readonly byPeer: Map<string, number> }>
  /** Requests with flaws that each proxy let through to its backend. */
  readonly flawsByProxy: ReadonlyMap<string, number>
  /** Cases that name no service, because damage hit that field: nothing to compare. */
  readonly unrouted: number
}

const LANES = 32
const QUIET_MS = 300
/** When a case is tried again by itself: a busy machine may have been slow. */
const QUIET_AGAIN_MS = 1_500
const AGAIN_MAX = 40
/** For requests that were cut off to be written down. */
const SETTLE_MS = 300

/** Sends the same odd requests through Waiter and its peers, and explains every difference. */
export async function runDifferential(options: DifferentialOptions): Promise<DifferentialResult> {
  const print = options.print ?? (() => undefined)
  const directory = mkdtempSync(join(tmpdir(), 'waiter-differential-'))
  const proxies: StartedProxy[] = []
  try {
    proxies.push(await startWaiterProxy(directory))
    for (const start of [startHaproxy, startNginx]) {
      const proxy = await start(directory)
      if (proxy !== undefined) proxies.push(proxy)
    }
    const cases = generateCases(options.cases, options.seed)
    const observations: Map<number, Observation>[] = []
    for (const proxy of proxies) {
      print(`${proxy.name}: ${cases.length} cases`)
      observations.push(await observe(proxy, cases, { lanes: LANES, quietMs: QUIET_MS }))
    }
    await judgeAgain(cases, proxies, observations)
    return summarize(options, cases, { proxies, observations })
  } finally {
    await Promise.all(proxies.map(proxy => proxy.stop()))
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function observe(
  proxy: StartedProxy,
  cases: readonly OddCase[],
  { lanes, quietMs }: { lanes: number; quietMs: number },
): Promise<Map<number, Observation>> {
  const conversations = new Map<number, Awaited<ReturnType<typeof converse>>>()
  const seenBefore = proxy.seen().length
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < cases.length) {
      const oddCase = cases[next++] as OddCase
      conversations.set(oddCase.id, await converse(proxy.port, oddCase, quietMs))
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  await new Promise(resolve => setTimeout(resolve, SETTLE_MS))
  const seenByCase = Map.groupBy(proxy.seen().slice(seenBefore), ({ caseId }) => caseId)
  return new Map(
    [...conversations].map(([id, conversation]) => [id, { ...conversation, seen: seenByCase.get(id) ?? [] }]),
  )
}

/** A case that looks wrong is tried once more by itself before it is believed. */
async function judgeAgain(
  cases: readonly OddCase[],
  proxies: readonly StartedProxy[],
  observations: readonly Map<number, Observation>[],
): Promise<void> {
  const suspects = cases.filter(oddCase => {
    const seen = observations.map(map => map.get(oddCase.id) as Observation)
    const { faults, findings } = judge(oddCase, proxies, seen)
    return faults.length > 0 || findings.some(({ rule }) => rule === undefined)
  })
  for (const oddCase of suspects.slice(0, AGAIN_MAX)) {
    for (const [index, proxy] of proxies.entries()) {
      const again = await observe(proxy, [oddCase], { lanes: 1, quietMs: QUIET_AGAIN_MS })
      observations[index]?.set(oddCase.id, again.get(oddCase.id) as Observation)
    }
  }
}

interface Judgement {
  readonly reading: Reading
  readonly isRouted: boolean
  readonly faults: string[]
  readonly findings: Finding[]
}

function judge(oddCase: OddCase, proxies: readonly StartedProxy[], seen: readonly Observation[]): Judgement {
  const reading = readStrictly(oddCase.bytes)
  const [waiter, ...others] = seen as [Observation, ...Observation[]]
  const isRouted = reading.requests.every(namesTheService)
  if (!isRouted) return { reading, isRouted, faults: waiter.seen.flatMap(tellFlaws), findings: [] }
  const findings = others.flatMap((peer, index) => {
    const subject = { oddCase, reading, waiter, peer }
    return compare(subject).map(difference => ({
      oddCase,
      peer: proxies[index + 1]?.name ?? '',
      difference,
      rule: RULES.find(rule => rule.covers(difference, subject)),
    }))
  })
  return { reading, isRouted, faults: checkWaiter(oddCase, reading, waiter), findings }
}

const tellFlaws = ({ flaws }: SeenRequest): string[] => [...flaws]

/** Does Waiter do exactly what the strict reading says? */
function checkWaiter(oddCase: OddCase, reading: Reading, waiter: Observation): string[] {
  const faults = waiter.seen.flatMap(tellFlaws).map(flaw => `passed on: ${flaw}`)
  const wanted = reading.requests.filter(({ isComplete }) => isComplete)
  const done = complete(waiter)
  const expect = (what: string, got: string, want: string): void => {
    if (got !== want) faults.push(`${what}: ${got.slice(0, 80)} instead of ${want.slice(0, 80)}`)
  }
  expect('requests', String(done.length), String(wanted.length))
  for (const [index, request] of wanted.entries()) {
    const got = done[index]
    if (got === undefined) break
    expect('method', got.method, request.method)
    expect('target', got.target, request.target.replace(/^https?:\/\/[^/?]*\/?/i, '/'))
    expect('framing', got.framing, request.framing)
    expect('body', got.body, request.body)
    expect('trailers', got.trailers, '')
  }
  const statuses = waiter.statuses.map(status =>
    status >= 400 && (status < 500 || status === 505) ? 'refused' : status,
  )
  expect(
    'answers',
    statuses.join(' '),
    [...wanted.map(() => 200), ...(reading.refusal === undefined ? [] : ['refused'])].join(' '),
  )
  expect('end', waiter.end, reading.closes || oddCase.endsWithFin ? 'closed' : 'open')
  if (waiter.nonsense !== '') faults.push(waiter.nonsense)
  return faults
}

function summarize(
  { seed }: DifferentialOptions,
  cases: readonly OddCase[],
  { proxies, observations }: { proxies: readonly StartedProxy[]; observations: readonly Map<number, Observation>[] },
): DifferentialResult {
  const findings: Finding[] = []
  const faults: string[] = []
  const refusals = new Map<string, { cases: number; readonly byPeer: Map<string, number> }>()
  const flawsByProxy = new Map(proxies.map(({ name }) => [name, 0]))
  let unrouted = 0
  for (const oddCase of cases) {
    const seen = observations.map(map => map.get(oddCase.id) as Observation)
    const judgement = judge(oddCase, proxies, seen)
    if (!judgement.isRouted) unrouted += 1
    findings.push(...judgement.findings)
    faults.push(...judgement.faults.map(fault => `case ${oddCase.id} (${oddCase.oddities.join(', ')}): ${fault}`))
    for (const [index, { name }] of proxies.entries()) {
      const flaws = seen[index]?.seen.filter(request => request.flaws.length > 0).length ?? 0
      flawsByProxy.set(name, (flawsByProxy.get(name) ?? 0) + flaws)
    }
    const { refusal } = judgement.reading
    if (refusal === undefined || !judgement.isRouted) continue
    const row = refusals.get(refusal) ?? { cases: 0, byPeer: new Map(proxies.slice(1).map(({ name }) => [name, 0])) }
    row.cases += 1
    for (const [index, { name }] of proxies.slice(1).entries()) {
      const isAccepted = judgement.findings.some(
        ({ peer, difference }) => peer === name && difference.aspect === 'refused by Waiter only',
      )
      if (!isAccepted && seen[index + 1] !== undefined) row.byPeer.set(name, (row.byPeer.get(name) ?? 0) + 1)
    }
    refusals.set(refusal, row)
  }
  const strays = proxies[0]?.seen().filter(({ caseId, target }) => caseId < 0 && target !== '/first') ?? []
  for (const { target } of strays) faults.push(`a request of no case reached the backend: ${target.slice(0, 80)}`)
  const peers = proxies.slice(1).map(({ name }) => name)
  return { cases: cases.length, seed, peers, findings, faults, refusals, flawsByProxy, unrouted }
}
