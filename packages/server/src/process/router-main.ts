/** A router process of a node. */
import { randomBytes } from 'node:crypto'
import type { Logger } from '@waiter/base'
import { createNodeAuth, createRemoteStore, RouterAgent } from '@waiter/control'
import { createProxyServer, renderHeader } from '@waiter/proxy'
import { AccessLog, LogFile, startRouter } from '@waiter/router'
import { createSimpleEntitlements } from '@waiter/services'
import { DEFAULT_EJECTION } from '@waiter/slots'
import { redactSettings } from '../config/redact-settings.ts'
import { administratorsOf, toAuthentication, toCors, toServicesConfig } from '../config/services-config.ts'
import { listenOrExplain } from '../listening.ts'
import { createPasswordFor } from '../service-password.ts'
import { VERSION } from '../version.ts'
import type { RouterStart } from './messages.ts'
import { runChild } from './run-child.ts'

const nowMs = (): number => performance.now()

runChild<RouterStart>('start-router', async (message, log) => {
  const { settings, nodeId, worker, clusterSecret, bind } = message
  const auth = createNodeAuth(clusterSecret, nodeId)
  const services = toServicesConfig(settings)
  const prefix = settings['router-id-prefix'].replaceAll(/[@.]/g, '-')
  const seat = worker === 1 ? nodeId : `${nodeId}-worker-${worker}`
  const routerId = `${prefix === '' ? seat : `${prefix}-${seat}`}-${randomBytes(6).toString('hex')}`
  const ejection = settings['ejection-config']
  const router = await startRouter({
    routerId,
    nodeId,
    services,
    entitlements: createSimpleEntitlements(administratorsOf(settings)),
    authentication: toAuthentication(settings, [clusterSecret]),
    cors: toCors(settings),
    trustedProxies: settings['trusted-proxies'],
    store: createRemoteStore(message.control, auth),
    createProxyServer,
    renderHeader,
    ejection: {
      ...DEFAULT_EJECTION,
      baseMs: ejection['eject-backoff-base-time-ms'],
      maxMs: ejection['max-eject-time-ms'],
      suspectAfterFailures: ejection['expiry-threshold'],
    },
    connectTimeoutMs: settings['instance-request-properties']['connection-timeout-ms'],
    clientIdleTimeoutMs: settings['instance-request-properties']['client-connection-idle-timeout-ms'],
    passwordFor: createPasswordFor(clusterSecret),
    accessLog: createAccessLog(message, log),
    supportInfo: settings['support-info'],
    settings: redactSettings(settings) as Record<string, unknown>,
    version: VERSION,
    log,
  })
  const port = await listenOrExplain(() => router.listen({ ...bind, reusePort: bind.isShared }), bind)
  const httpUrl = `http://${bind.host.includes(':') ? `[${bind.host}]` : bind.host}:${port}`
  const agent = new RouterAgent({
    address: message.control,
    auth,
    routerId,
    nodeId,
    worker,
    httpUrl,
    host: router.table,
    log,
  })
  router.connect(agent)
  log.info({ httpUrl, routerId }, 'the router serves')
  return { address: httpUrl, stop: graceMs => router.stop(graceMs) }
})

function createAccessLog({ settings, requestLogFile }: RouterStart, log: Logger): AccessLog | undefined {
  const wanted = settings['request-log']
  if (!wanted.enabled) return undefined
  const sink = new LogFile({
    path: requestLogFile,
    bytesMax: wanted['file-bytes-max'],
    filesMax: wanted['files-max'],
    log,
    nowMs,
  })
  return new AccessLog({
    sink,
    nowMs,
    requestHeaders: wanted['request-headers'],
    responseHeaders: wanted['response-headers'],
    omittedFields: wanted['omitted-fields'],
  })
}
