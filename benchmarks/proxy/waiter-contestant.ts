import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually, listProcesses, type StartedWaiter } from '../../packages/testkit/src/index.ts'
import { type Contestant, OTHER_CPU, PROXY_CPU, pin } from './contestant.ts'
import { familyOf } from './cpu.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BACKEND = fileURLToPath(new URL('backend.ts', import.meta.url))
/** The token, which is the host that all requests name. */
export const HOST = 'bench-service.example'
/** The largest that a description may ask for: slots are counted, but never short. */
const CONCURRENCY_LEVEL = 10_000

/** Waiter as in production, and the port of the one instance that it runs: everybody's backend. */
export interface WaiterContestant extends Contestant {
  readonly backendPort: number
  readonly backendPid: number
}

/**
 * Starts Waiter as `npm start` does, with a service for the backend, and pins its processes to the proxy's CPU.
 *
 * @param options `checkout` of the Waiter to start, this one by default; `hasLog`: with its request log
 */
export async function startWaiterContestant(
  name: string,
  { checkout = ROOT, hasLog = true }: { readonly checkout?: string; readonly hasLog?: boolean } = {},
): Promise<WaiterContestant> {
  const testkit = (await import(resolve(checkout, 'packages/testkit/src/index.ts'))) as {
    startWaiter: (options: { config: object }) => Promise<StartedWaiter>
  }
  const waiter = await testkit.startWaiter({ config: hasLog ? {} : { 'request-log': { enabled: false } } })
  try {
    await register(waiter)
    const first = await waiter.request({ path: '/', headers: { host: HOST } })
    if (first.status !== 200 || first.text.length !== 100) throw new Error(`the backend is not there: ${first.text}`)
    const { port: backendPort } = await eventually(() => findInstance(waiter), 'the instance in GET /apps')
    const backend = waiter.instanceProcesses().find(({ words }) => words.includes(BACKEND))
    if (backend === undefined) throw new Error('the process of the backend is not found')
    // The launcher's parent is the script that the user starts.
    const script = listProcesses().find(({ pid }) => pid === waiter.pid)?.parentPid ?? waiter.pid
    const instances = new Set(waiter.instanceProcesses().map(({ pid }) => pid))
    const pids = familyOf(script === process.pid ? waiter.pid : script).filter(pid => !instances.has(pid))
    pin(pids, PROXY_CPU)
    const dataPlanePids = waiter.processes('router').map(({ pid }) => pid)
    const { port } = waiter
    return { name, port, pids, dataPlanePids, backendPort, backendPid: backend.pid, stop: waiter.stop }
  } catch (error) {
    await waiter.stop()
    throw error
  }
}

async function register(waiter: StartedWaiter): Promise<void> {
  const description = {
    cmd: `exec taskset -c ${OTHER_CPU} '${process.execPath}' '${BACKEND}' $PORT0`,
    version: '1',
    cpus: 0.1,
    mem: 512,
    'concurrency-level': CONCURRENCY_LEVEL,
    'min-instances': 1,
    'max-instances': 1,
    'health-check-url': '/status',
  }
  const { status, text } = await waiter.request({
    method: 'POST',
    path: `/token?token=${HOST}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(description),
  })
  if (status !== 200) throw new Error(`could not register the service: ${status} ${text}`)
}

interface AppDetails {
  readonly instances: { readonly 'active-instances': readonly { readonly host: string; readonly port: number }[] }
}

async function findInstance(waiter: StartedWaiter): Promise<{ readonly port: number } | undefined> {
  const rows = (await waiter.api('/apps')) as readonly { readonly 'service-id': string }[]
  const id = rows[0]?.['service-id']
  if (id === undefined) return undefined
  const { instances } = (await waiter.api(`/apps/${id}`)) as AppDetails
  return instances['active-instances'][0]
}
