import { fileURLToPath } from 'node:url'
import type { StartedWaiter } from '../../packages/testkit/src/index.ts'
import { SteadyLoad } from '../load/steady-load.ts'

export type Mode = 'good' | 'crash' | 'errors' | 'slow' | 'dies'

export interface ScenarioOptions {
  readonly waiter: StartedWaiter
  readonly perSecond: number
  /** How long each version is in the token. */
  readonly phaseMs: number
  /** Do not wait for the end of a phase once the version serves well, or was withdrawn. */
  readonly isHasty?: boolean
  /** Versions in order; the first runs before the load begins. */
  readonly modes: readonly Mode[]
  readonly onProgress?: (line: string) => void
}

/** What became of one version. */
export interface VersionOutcome {
  readonly mode: Mode
  readonly serviceId: string
  /** From the answer to `POST /token` to the first sight of its withdrawal; null: it was not withdrawn. */
  readonly withdrawnAfterMs: number | null
  readonly code: string | null
  readonly reason: string | null
  /** From the answer to `POST /token` until `/service-id` names it; null: it never served. */
  readonly servedAfterMs: number | null
}

const TOKEN = 'versions'
const BACKEND = fileURLToPath(new URL('backend.ts', import.meta.url))
const POLL_MS = 100
/** So long a version that serves well is watched by who is in a hurry: for figures to compare the next one with. */
const HASTY_MS = 2_000

/** Writes one version of a token after the other under a steady load, and watches what Waiter makes of them. */
export async function runScenario(options: ScenarioOptions): Promise<{ versions: VersionOutcome[]; load: SteadyLoad }> {
  const { waiter, modes, phaseMs, perSecond, isHasty = false } = options
  const [first, ...others] = modes
  await writeVersion(waiter, first ?? 'good', 0)
  await waiter.request({ path: '/warm', headers: { 'x-waiter-token': TOKEN } })
  const load = new SteadyLoad({ port: waiter.port, token: TOKEN, perSecond })
  load.start()
  await pause(isHasty ? HASTY_MS : phaseMs)
  const versions: VersionOutcome[] = []
  for (const [index, mode] of others.entries()) {
    const version = await watchVersion(waiter, { mode, version: index + 1, phaseMs, isHasty })
    options.onProgress?.(JSON.stringify(version))
    versions.push(version)
  }
  await load.stop()
  return { versions, load }
}

async function watchVersion(
  waiter: StartedWaiter,
  { mode, version, phaseMs, isHasty }: { mode: Mode; version: number; phaseMs: number; isHasty: boolean },
): Promise<VersionOutcome> {
  await writeVersion(waiter, mode, version)
  const writtenAtMs = performance.now()
  const { text: serviceId } = await waiter.request({
    path: '/service-id?latest=true',
    headers: { 'x-waiter-token': TOKEN },
  })
  let withdrawnAfterMs: number | null = null
  let servedAfterMs: number | null = null
  let withdrawn: { code: string; reason: string } | undefined
  while (performance.now() < writtenAtMs + phaseMs) {
    await pause(POLL_MS)
    const [entry] = await waiter.api(`/token-history?token=${TOKEN}&length=1`)
    const serving = await waiter.request({ path: '/service-id', headers: { 'x-waiter-token': TOKEN } })
    const afterMs = Math.round(performance.now() - writtenAtMs)
    if (serving.text === serviceId) servedAfterMs ??= afterMs
    const isServingWell = mode === 'good' && servedAfterMs !== null && afterMs > servedAfterMs + HASTY_MS
    if (isHasty && (isServingWell || withdrawnAfterMs !== null)) break
    if (entry.withdrawn === undefined || withdrawnAfterMs !== null) continue
    withdrawnAfterMs = afterMs
    withdrawn = entry.withdrawn
  }
  return {
    mode,
    serviceId,
    withdrawnAfterMs,
    code: withdrawn?.code ?? null,
    reason: withdrawn?.reason ?? null,
    servedAfterMs,
  }
}

async function writeVersion(waiter: StartedWaiter, mode: Mode, version: number): Promise<void> {
  const answer = await waiter.request({
    method: 'POST',
    path: `/token?token=${TOKEN}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name: TOKEN,
      cmd: `exec '${process.execPath}' '${BACKEND}' $PORT0 ${mode}`,
      version: String(version),
      cpus: 0.1,
      mem: 256,
      'concurrency-level': 20,
      'max-instances': 4,
    }),
  })
  if (answer.status !== 200) throw new Error(`POST /token answered ${answer.status}: ${answer.text}`)
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
