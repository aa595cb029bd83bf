/** A router process of a node. */
import { randomBytes } from 'node:crypto'
import type { Logger } from '@waiter/base'
import {
  type ControlAddress,
  ControlDirectory,
  createClusterCalls,
  createMeasureHandler,
  createRemoteStore,
  createRpcClients,
  formatAddress,
  type NodeAuth,
  RouterAgent,
  RouterServiceService,
  type RpcServer,
  Siblings,
  SlotExchange,
  startRpcServer,
} from '@waiter/control'
import { type Certificates, createProxyServer, renderHeader } from '@waiter/proxy'
import { AccessLog, LogFile, type Router, type RouterGossipSettings, startRouter } from '@waiter/router'
import { createSimpleEntitlements } from '@waiter/services'
import { DEFAULT_EJECTION, type EjectionConfig } from '@waiter/slots'
import { administratorsOf, toAuthentication, toCors, toServicesConfig } from '../config/services-config.ts'
import { showSettings } from '../config/show-settings.ts'
import { isLoopback } from '../host.ts'
import { listenOrExplain } from '../listening.ts'
import { openNodeAuth } from '../node-security.ts'
import { SECURE_PORT_MEND } from '../router-workers.ts'
import { createPasswordFor } from '../service-password.ts'
import { loadBackendTls } from '../tls/backend-tls.ts'
import { CertificateFiles } from '../tls/certificate-files.ts'
import { VERSION } from '../version.ts'
import { keepGossip } from './keep-gossip.ts'
import type { ControlMember, RouterStart } from './messages.ts'
import { type ParentLink, runChild } from './run-child.ts'

const nowMs = (): number => performance.now()

const SECS_PER_DAY = 86_400

runChild<RouterStart>('start-router', async (message, log, parent) => {
  const { settings, nodeId, worker, clusterSecrets, bind } = message
  const auth = openNodeAuth(message)
  const clients = createRpcClients(auth)
  const { directory, cluster, siblings, closeCluster } = openCluster(message, auth, parent, log)
  const services = toServicesConfig(settings)
  const routerId = createRouterId(message)
  const tls =
    message.tls === undefined ? undefined : await openTls(message, certs => router.setCertificates(certs), log)
  let securePort: number | undefined
  const router: Router = await startRouter({
    routerId,
    nodeId,
    ...(siblings && { worker, measureSiblings: () => siblings.measure() }),
    services,
    entitlements: createSimpleEntitlements(administratorsOf(settings)),
    authentication: toAuthentication(settings, clusterSecrets),
    cors: toCors(settings),
    consentMaxAgeSecs: settings['consent-expiry-days'] * SECS_PER_DAY,
    trustedProxies: settings['trusted-proxies'],
    httpsPort: () => securePort,
    createSlotExchange: find => new SlotExchange({ routerId, clients, find, log }),
    store: createRemoteStore(directory, auth),
    cluster,
    gossip: toGossip(settings),
    createProxyServer,
    renderHeader,
    ejection: toEjection(settings),
    connectTimeoutMs: settings['instance-request-properties']['connection-timeout-ms'],
    clientIdleTimeoutMs: settings['instance-request-properties']['client-connection-idle-timeout-ms'],
    passwordFor: createPasswordFor(clusterSecrets[0]),
    accessLog: createAccessLog(message, log),
    messages: settings.messages,
    supportInfo: settings['support-info'],
    upstreamTls: await loadBackendTls(settings['server-options']['backend-tls']),
    handshakeTimeoutMs: settings['server-options']['handshake-timeout-ms'],
    webSocketAgeMsMax: settings['websocket-config']['max-age-ms'],
    handshakesMax: settings['server-options']['handshakes-max'],
    tlsState: tls && (() => tls.files.state()),
    warnings: () => tls?.files.warnings() ?? [],
    settings: showSettings(settings),
    version: VERSION,
    onDrain: drains => parent.tell({ kind: 'drains', drains }),
    endProcess: () => void end(settings['shutdown-grace-ms']).finally(() => process.exit(0)),
    log,
  })
  const port = await listenOrExplain(() => router.listen({ ...bind, reusePort: bind.isShared }), bind)
  securePort = tls && (await listenSecurely(router, bind, tls))
  const { httpUrl, httpsUrl } = urlsOf(message, port, securePort)
  const peers = await listenForPeers(router, message, auth)
  const gossip = router.gossip && (await keepGossip(message, router.gossip, log))
  router.gossip?.introduce({ routerId, nodeId, version: VERSION, httpUrl, peerAddress: peers.address })
  const agent = new RouterAgent({
    locator: directory,
    ...{ clients, routerId, nodeId, worker, httpUrl, hostId: message.host.hostId, startId: message.host.startId },
    peerAddress: peers.address,
    gossipAddress: () => gossip?.address() ?? '',
    ...{ host: router.table, answer: router.answer, log },
  })
  connect(router, agent, parent)
  parent.onDrain(drains => router.drain(drains))
  const end = (graceMs: number): Promise<unknown> => Promise.all([gossip?.stop(), router.stop(graceMs)])
  log.info({ httpUrl, httpsUrl, routerId }, 'the router serves')
  return {
    address: httpUrl,
    secureAddress: httpsUrl,
    peerAddress: peers.address,
    routerId,
    stop: async graceMs => {
      tls?.files.stop()
      await end(graceMs)
      peers.close()
      closeCluster()
    },
  }
})

function connect(router: Router, agent: RouterAgent, parent: ParentLink): void {
  router.connect(agent)
  parent.onRouterEnded(routerId => agent.tellEnded(routerId))
}

function toControlAddress({ nodeId, grpc }: ControlMember): ControlAddress {
  return { nodeId, address: grpc }
}

/** Where the control nodes are, and what is asked of them as a group. */
function openCluster(message: RouterStart, auth: NodeAuth, parent: ParentLink, log: Logger) {
  const siblings = openSiblings(message, auth, parent, log)
  const directory = new ControlDirectory({
    controls: message.controls.map(toControlAddress),
    onMembers: (members, version) => parent.tell({ kind: 'controls', members, version }),
    clients: createRpcClients(auth),
    log,
  })
  const calls = createClusterCalls(auth)
  parent.onMembers(members => directory.setControls(members.map(toControlAddress)))
  return {
    directory,
    siblings,
    cluster: {
      members: () => calls.members(directory),
      transferLeader: (node: string) => calls.transferLeader(directory, node),
      leave: (node: string, force: boolean) => calls.leave(directory, { nodeIds: [node], force }),
    },
    closeCluster: () => {
      siblings?.close()
      directory.close()
      calls.close()
    },
  }
}

function toGossip({ 'gossip-config': config }: RouterStart['settings']): RouterGossipSettings | undefined {
  if (!config.enabled) return undefined
  return {
    loadIntervalMs: config['load-interval-ms'],
    loadServicesMax: config['load-services-max'],
    sharesEjections: config['share-ejections'],
  }
}

function toEjection({ 'ejection-config': config }: RouterStart['settings']): EjectionConfig {
  return {
    ...DEFAULT_EJECTION,
    baseMs: config['eject-backoff-base-time-ms'],
    maxMs: config['max-eject-time-ms'],
    suspectAfterFailures: config['expiry-threshold'],
  }
}

/** Never used again: what was lent to a router that died is not lent to its successor. */
function createRouterId({ settings, nodeId, worker }: RouterStart): string {
  const prefix = settings['router-id-prefix'].replaceAll(/[@.]/g, '-')
  const seat = worker === 1 ? nodeId : `${nodeId}-worker-${worker}`
  return `${prefix === '' ? seat : `${prefix}-${seat}`}-${randomBytes(6).toString('hex')}`
}

/** The other workers of this node, if it is to have any. */
function openSiblings({ workers }: RouterStart, auth: NodeAuth, parent: ParentLink, log: Logger): Siblings | undefined {
  if (workers === 1) return undefined
  const siblings = new Siblings(auth, log)
  parent.onSiblings(addresses => siblings.set(addresses))
  return siblings
}

/** Where clients reach it. Who listens everywhere is reached where its host is. */
function urlsOf({ bind, host: { advertise } }: RouterStart, port: number, securePort: number | undefined) {
  const isEverywhere = bind.host === '0.0.0.0' || bind.host === '::'
  const host = isEverywhere && !isLoopback(advertise) ? advertise : bind.host
  return {
    httpUrl: `http://${formatAddress(host, port)}`,
    httpsUrl: securePort === undefined ? undefined : `https://${formatAddress(host, securePort)}`,
  }
}

async function listenForPeers(router: Router, { host, peerBind }: RouterStart, auth: NodeAuth): Promise<RpcServer> {
  const { exchange } = router
  const measure = createMeasureHandler(() => router.measure())
  const services =
    exchange === undefined ? [] : [{ definition: RouterServiceService, handlers: { ...exchange.handlers, ...measure } }]
  return await startRpcServer({ ...peerBind, advertise: host.advertise }, services, auth)
}

interface OpenTls {
  readonly files: CertificateFiles
  readonly port: number
  readonly ticketSecret: Buffer
}

async function openTls(
  { settings, tls }: RouterStart,
  onChange: (certificates: Certificates) => void,
  log: Logger,
): Promise<OpenTls> {
  const options = settings['server-options']
  const files = await CertificateFiles.open({
    sources: options.certificates,
    minVersion: options['ssl-min-version'],
    checkIntervalMs: options['certificate-check-interval-ms'],
    onChange,
    log,
  })
  return { files, port: tls?.port ?? 0, ticketSecret: Buffer.from(tls?.ticketSecret ?? '', 'base64') }
}

async function listenSecurely(router: Router, bind: RouterStart['bind'], tls: OpenTls): Promise<number> {
  const where = { host: bind.host, port: tls.port }
  const terms = { certificates: tls.files.certificates, ticketSecret: tls.ticketSecret }
  return await listenOrExplain(
    () => router.listen({ ...where, reusePort: bind.isShared, tls: terms }),
    where,
    SECURE_PORT_MEND,
  )
}

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
