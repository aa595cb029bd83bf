import { Agent, request } from 'node:http'

const REQUEST_TIMEOUT_MS = 60_000

/** One request that is to be made: after so many milliseconds, at this router, taking so long. */
export interface Arrival {
  readonly atMs: number
  readonly router: number
  readonly serviceMs: number
}

/** What became of it. Epoch milliseconds of this machine's one clock. */
export interface Sample {
  readonly sentAtMs: number
  readonly beganAtMs: number
  readonly endedAtMs: number
  readonly instance: string
}

export interface LoadOptions {
  readonly ports: readonly number[]
  readonly token: string
  readonly arrivals: readonly Arrival[]
  /** A new connection for each request: spreads them over workers that share a port. */
  readonly isConnectingAnew: boolean
}

const epochMs = (): number => performance.timeOrigin + performance.now()

/** What came of the load. */
export interface LoadResult {
  readonly samples: Sample[]
  /** As text. */
  readonly failures: string[]
  /** How late timers of this process, which has little to do, went off: what the machine adds to every figure. */
  readonly latenessMs: number[]
}

/** Makes each request when its time has come, whatever became of earlier ones. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const agent = options.isConnectingAnew ? new Agent({ keepAlive: false }) : new Agent({ keepAlive: true })
  const samples: Sample[] = []
  const failures: string[] = []
  const latenessMs: number[] = []
  const startedAtMs = performance.now()
  const pending: Promise<void>[] = []
  for (const arrival of options.arrivals) {
    const waitMs = startedAtMs + arrival.atMs - performance.now()
    if (waitMs > 0) {
      await new Promise(resolve => setTimeout(resolve, waitMs))
      latenessMs.push(Math.max(0, performance.now() - startedAtMs - arrival.atMs))
    }
    pending.push(
      send(options, agent, arrival).then(
        sample => void samples.push(sample),
        (error: Error) => void failures.push(error.message),
      ),
    )
  }
  await Promise.all(pending)
  agent.destroy()
  return { samples, failures, latenessMs }
}

function send({ ports, token }: LoadOptions, agent: Agent, { router, serviceMs }: Arrival): Promise<Sample> {
  return new Promise((resolve, reject) => {
    const sentAtMs = epochMs()
    const headers = { 'x-waiter-token': token, 'x-service-ms': String(serviceMs) }
    const port = ports[router % ports.length]
    const sent = request({ host: '127.0.0.1', port, agent, headers, timeout: REQUEST_TIMEOUT_MS }, response => {
      const [instance = '', began, ended] = String(response.headers['x-times'] ?? '').split(' ')
      response.resume()
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode !== 200 || ended === undefined) reject(new Error(`status ${response.statusCode}`))
        else resolve({ sentAtMs, beganAtMs: Number(began), endedAtMs: Number(ended), instance })
      })
    })
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')))
    sent.on('error', reject)
    sent.end()
  })
}
