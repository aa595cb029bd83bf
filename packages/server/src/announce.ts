import { join } from 'node:path'
import type { RunningCluster } from './cluster.ts'
import type { DataPaths } from './data-directory.ts'

/** Tells whoever started us that requests can come: one line of JSON, or what a person wants to know. */
export function announceReady(
  cluster: RunningCluster,
  options: { readonly isJson: boolean; readonly data: DataPaths },
): void {
  const routers = cluster.nodes.map(node => node.http)
  if (options.isJson) {
    const nodes = cluster.nodes.map(({ id, pid, roles, http, https, workers, grpc }) => ({
      ...{ id, pid, roles, http, https, workers, grpc },
    }))
    process.stdout.write(`${JSON.stringify({ ready: true, routers, pid: process.pid, nodes })}\n`)
    return
  }
  const url = routers[0]
  const secure = cluster.nodes.flatMap(node => node.https ?? [])
  process.stdout.write(`
Waiter is ready.

  routers    ${[...routers, ...secure].join('  ')}
  services   ${url}/apps
  data       ${options.data.path}
  logs       ${join(options.data.logs, '*.log')}
  instances  ${join(options.data.scheduler, 'instances')}  (stdout and stderr of each)

Register a service, then call it; the first request starts it:

  curl -X POST '${url}/token?token=hello' -H 'content-type: application/json' -d '
    {"cmd": "python3 -m http.server $PORT0", "cpus": 0.1, "mem": 256, "version": "1",
     "health-check-url": "/"}'

  curl -H 'x-waiter-token: hello' ${url}/

Ctrl-C stops everything.
`)
}
