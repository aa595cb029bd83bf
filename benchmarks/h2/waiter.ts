import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually, listProcesses, type StartedWaiter, startWaiter } from '../../packages/testkit/src/index.ts'
import { type Contestant, findCommand, OTHER_CPU, PROXY_CPU, pin } from '../proxy/contestant.ts'
import { familyOf } from '../proxy/cpu.ts'

const HTTP1_BACKEND = fileURLToPath(new URL('../proxy/backend.ts', import.meta.url))
const CONCURRENCY_LEVEL = 10_000

/** Waiter as in production with one service for each protocol of a backend; their instances are everybody's backends. */
export interface WaiterHttp2 {
  readonly waiter: Contestant
  readonly backends: Readonly<Record<'h1' | 'h2', { readonly host: string; readonly port: number }>>
}

/** Starts it and pins its processes to the proxy's CPU. `nghttpd` is the HTTP/2 backend: it costs little. */
export async function startWaiterHttp2(name: string, directory: string, hasLog: boolean): Promise<WaiterHttp2> {
  const nghttpd = findCommand('nghttpd')
  if (nghttpd === undefined) throw new Error('nghttpd is not installed (apt-get install nghttp2)')
  writeFileSync(join(directory, 'index.html'), 'x'.repeat(100))
  const waiter = await startWaiter({ config: { 'request-log': { enabled: hasLog } } })
  try {
    const h1 = await register(waiter, 'bench-h1.example', {
      cmd: `exec taskset -c ${OTHER_CPU} '${process.execPath}' '${HTTP1_BACKEND}' $PORT0`,
    })
    const h2 = await register(waiter, 'bench-h2.example', {
      cmd: `exec taskset -c ${OTHER_CPU} '${nghttpd}' --no-tls -m 1000 -d '${directory}' $PORT0`,
      'backend-proto': 'h2c',
    })
    // The launcher's parent is the script that the user starts.
    const script = listProcesses().find(({ pid }) => pid === waiter.pid)?.parentPid ?? waiter.pid
    const instances = new Set(waiter.instanceProcesses().map(({ pid }) => pid))
    const pids = familyOf(script === process.pid ? waiter.pid : script).filter(pid => !instances.has(pid))
    pin(pids, PROXY_CPU)
    const dataPlanePids = waiter.processes('router').map(({ pid }) => pid)
    const contestant = { name, port: waiter.port, pids, dataPlanePids, stop: waiter.stop }
    return { waiter: contestant, backends: { h1, h2 } }
  } catch (error) {
    await waiter.stop()
    throw error
  }
}

async function register(
  waiter: StartedWaiter,
  host: string,
  changes: Readonly<Record<string, unknown>>,
): Promise<{ readonly host: string; readonly port: number }> {
  const body = {
    version: '1',
    name: host,
    cpus: 0.1,
    mem: 512,
    'concurrency-level': CONCURRENCY_LEVEL,
    'min-instances': 1,
    'max-instances': 1,
    'health-check-url': '/',
    ...changes,
  }
  const headers = { 'content-type': 'application/json' }
  const path = `/token?token=${host}`
  const posted = await waiter.request({ method: 'POST', path, headers, body: JSON.stringify(body) })
  if (posted.status !== 200) throw new Error(`could not register ${host}: ${posted.status} ${posted.text}`)
  const first = await waiter.request({ path: '/', headers: { host } })
  if (first.status !== 200 || first.text.length !== 100) throw new Error(`no backend: ${first.status} ${first.text}`)
  const { text: id } = await waiter.request({ path: '/service-id', headers: { host, 'x-waiter-token': host } })
  return { host, port: await eventually(() => instancePort(waiter, id), `the instance of ${host}`) }
}

async function instancePort(waiter: StartedWaiter, id: string): Promise<number | undefined> {
  const { instances } = (await waiter.api(`/apps/${id}`)) as {
    readonly instances: { readonly 'active-instances': readonly { readonly port: number }[] }
  }
  return instances['active-instances'][0]?.port
}
