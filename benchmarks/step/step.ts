import { eventually, kitchenCommand, type StartedWaiter } from '../../packages/testkit/src/index.ts'

/** What one burst brought; both from its first request on. */
export interface Step {
  readonly commandMs: number
  readonly secondInstanceMs: number
}

interface StepOptions {
  readonly waiter: StartedWaiter
  /** A new one for each step: a service of its own. */
  readonly token: string
  readonly clients: number
}

/** One request's work. */
const WORK_MS = 100
/** The single client goes on for this long before the step: its service is at rest then. */
const CALM_MS = 2_000
/** Enough to see the first of them; starting fifty would be what the next step waits for. */
const INSTANCES_MAX = 4
const WAIT = { timeoutMs: 30_000 }

/** One client, then all of them at once, each asking again as soon as it is answered. */
export async function runStep({ waiter, token, clients }: StepOptions): Promise<Step> {
  const serviceId = await prepare(waiter, token)
  const instanceIds = new Set<string>()
  let isOver = false
  let secondAtMs: number | undefined
  const client = async (index: number): Promise<void> => {
    const port = waiter.ports[index % waiter.ports.length] ?? waiter.port
    while (!isOver) {
      instanceIds.add(await ask(waiter, token, port))
      if (instanceIds.size > 1) secondAtMs ??= Date.now()
    }
  }
  const working = [client(0)]
  await new Promise(resolve => setTimeout(resolve, CALM_MS))
  if (instanceIds.size > 1 || commandTime(waiter, serviceId) !== undefined)
    throw new Error('a single client got a second instance: there is no step to measure')
  const steppedAtMs = Date.now()
  for (let index = 1; index < clients; index++) working.push(client(index))
  try {
    const commandedAtMs = await eventually(() => commandTime(waiter, serviceId), 'a command to start more', WAIT)
    const servedAtMs = await eventually(() => secondAtMs, 'an answer of another instance', WAIT)
    return { commandMs: commandedAtMs - steppedAtMs, secondInstanceMs: servedAtMs - steppedAtMs }
  } finally {
    isOver = true
    await Promise.all(working)
    await waiter.request({ method: 'DELETE', path: `/apps/${serviceId}` })
  }
}

/** When the leader told the scheduler to start more of it; from its log, in milliseconds of wall time. */
function commandTime(waiter: StartedWaiter, serviceId: string): number | undefined {
  for (const line of waiter.log().split('\n')) {
    if (!line.includes('"msg":"scaling up"') || !line.includes(serviceId)) continue
    return Number(JSON.parse(line).time)
  }
  return undefined
}

/** @returns the id of the service, of which one instance runs */
async function prepare(waiter: StartedWaiter, token: string): Promise<string> {
  const description = {
    name: token,
    cmd: kitchenCommand(),
    version: '1',
    cpus: 0.1,
    mem: 256,
    'concurrency-level': 1,
    'max-instances': INSTANCES_MAX,
  }
  const written = await waiter.request({
    method: 'POST',
    path: `/token?token=${token}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(description),
  })
  if (written.status !== 200) throw new Error(`POST /token answered ${written.status}: ${written.text}`)
  await ask(waiter, token, waiter.port)
  const id = await waiter.request({ path: '/service-id', headers: { 'x-waiter-token': token } })
  return id.text
}

/** @returns the id of the instance that answered */
async function ask(waiter: StartedWaiter, token: string, port: number): Promise<string> {
  const headers = { 'x-waiter-token': token, 'x-kitchen-delay-ms': String(WORK_MS), 'x-waiter-debug': '1' }
  const { status, text, headers: fields } = await waiter.request({ port, headers })
  if (status !== 200) throw new Error(`${token} answered ${status}: ${text}`)
  return String(fields['x-waiter-backend-id'] ?? '')
}
