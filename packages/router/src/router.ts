import { randomInt } from 'node:crypto'
import { createPrng } from '@waiter/base'
import type { AnswerQuestion, LeaderLink, MetricFamily, SlotExchange } from '@waiter/control'
import type { Certificates, ListenOptions, ProxyServer, ProxyServerOptions } from '@waiter/proxy'
import { type OverridesRecord, STORE_PREFIXES, type SuspensionRecord, type WithdrawalRecord } from '@waiter/services'
import { type KeyValueStore, StoreMirror } from '@waiter/store/port'
import { createApi } from './api/create-api.ts'
import { createAsyncRequests } from './async/create-async-requests.ts'
import { createAnswers } from './cluster/questions.ts'
import { Drain } from './drain.ts'
import { RouterGossip } from './gossip/router-gossip.ts'
import { measureForPrometheus } from './metrics/render-prometheus.ts'
import { RouterMetrics } from './metrics/router-metrics.ts'
import { OverrideService } from './overrides/override-service.ts'
import { Pipeline } from './pipeline.ts'
import { OWN_COOKIES, withoutOwnCookies } from './request/own-cookies.ts'
import type { RouterOptions } from './router-options.ts'
import { KnownDescriptions } from './services/known-descriptions.ts'
import { ServiceTable } from './services/service-table.ts'
import { SuspensionService } from './suspensions/suspension-service.ts'
import { TokenReplica } from './tokens/token-replica.ts'
import { TokenService } from './tokens/token-service.ts'
import { ReferenceRecorder } from './versions/reference-recorder.ts'
import { VersionChooser } from './versions/version-chooser.ts'

/** A router: takes clients' requests and serves them, with or without a leader. */
export interface Router {
  readonly table: ServiceTable
  /** What it tells other routers and hears from them without the leader; undefined: nothing. */
  readonly gossip: RouterGossip | undefined
  /** Answers what other routers ask of this one. */
  readonly answer: AnswerQuestion
  /** Through which it lends and borrows slots. */
  readonly exchange: SlotExchange | undefined
  /** What it measured, for Prometheus. */
  measure(): readonly MetricFamily[]
  /** @returns the port */
  listen(options: ListenOptions): Promise<number>
  /** New certificates for the listeners with TLS. */
  setCertificates(certificates: Certificates): void
  /** Connects it with the leader. */
  connect(link: LeaderLink): void
  /** Its node is about to stop, or goes on after all. */
  drain(drains: boolean): void
  /** Finishes what runs within `graceMs`. */
  stop(graceMs: number): Promise<void>
}

/** Whom a page may call is Waiter's to say (spec §1.12): browsers refuse an answer that says it twice. */
const CORS_ANSWERS = ['access-control-allow-origin', 'access-control-allow-credentials']

const nowMs = (): number => performance.now()

/** Builds a router; it listens when told to. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const tokens = new TokenReplica(options.store, options.log)
  const mirror = <Stored>(name: keyof typeof STORE_PREFIXES, onChange: (id: string) => void): StoreMirror<Stored> =>
    new StoreMirror({ ...options, prefix: STORE_PREFIXES[name], parse: text => JSON.parse(text) as Stored, onChange })
  const overrides = mirror<OverridesRecord>('overrides', () => pipeline.forgetDescriptors())
  const suspensions = mirror<SuspensionRecord>('suspensions', serviceId => table.onSuspension(serviceId))
  const withdrawals = mirror<WithdrawalRecord>('withdrawals', () => pipeline.forgetDescriptors())
  const references = new ReferenceRecorder()
  const mirrors = [tokens, overrides, suspensions, withdrawals]
  let proxy: ProxyServer | undefined
  let link: LeaderLink | undefined
  const drain = new Drain(options, isOver => link?.drain(isOver))
  const table: ServiceTable = new ServiceTable({
    findSuspension: serviceId => suspensions.find(serviceId),
    ejection: options.ejection,
    random: createPrng(randomInt(2 ** 32)),
    onInstanceRetired: (host, port) => proxy?.closeUpstream(host, port),
    references,
    successions: () => versions.successions.all(),
  })
  const exchange = options.createSlotExchange?.(serviceId => table.get(serviceId))
  table.share(exchange)
  const gossip = options.gossip && new RouterGossip({ ...options, settings: options.gossip, table, nowMs })
  table.gossipThrough(gossip)
  const versions: VersionChooser = new VersionChooser({
    table,
    findWithdrawals: token => withdrawals.find(token),
    entitlements: options.entitlements,
    references,
    ...{ leader: () => link, nowMs: Date.now },
  })
  const asyncRequests = createAsyncRequests(options)
  const descriptions = new KnownDescriptions({ ...options, table, leader: () => link })
  const measures = {
    ...{ options, table, tokens, gossip, metrics: new RouterMetrics(performance.now()) },
    stats: () => proxy?.stats(),
    leader: () => link,
  }
  const api = createApi({
    ...measures,
    ...{ descriptions, drain, withdrawals },
    tokenService: new TokenService({ ...options, replica: tokens }),
    overrides: new OverrideService({ ...options, mirror: overrides }),
    suspensions: new SuspensionService({ ...options, mirror: suspensions }),
    pipeline: () => pipeline,
  })
  const pipeline = new Pipeline(options, { table, tokens, overrides, descriptions, versions, asyncRequests, api })
  const server = options.createProxyServer(proxyOptionsOf(options, pipeline))
  proxy = server
  pipeline.authentication.identityProvider?.start()
  const following = mirrors.map(mirror => mirror.run())
  await Promise.all(mirrors.map(mirror => mirror.ready))
  return {
    ...{ table, exchange, gossip },
    measure: () => measureForPrometheus(measures, performance.now()),
    answer: createAnswers({
      ...{ nodeId: options.nodeId, table, drain, gossip, asyncRequests, findDescription: id => descriptions.find(id) },
      refresh: id => refresh(options.store, { overrides, suspensions }, id),
    }),
    listen: async listenOptions => (await server.listen(listenOptions)).port,
    setCertificates: certificates => server.setCertificates(certificates),
    connect: leaderLink => {
      link = leaderLink
      table.connect(leaderLink)
    },
    drain: drains => drain.set(drains),
    stop: async graceMs => {
      for (const part of [drain, gossip, asyncRequests, pipeline.authentication.identityProvider]) part?.stop()
      api.close()
      await server.close(graceMs)
      for (const part of [exchange, link]) part?.close()
      for (const mirror of mirrors) mirror.stop()
      await Promise.all(following)
      versions.forgetAll()
      table.dispose()
      await options.store.close()
      await options.accessLog?.close()
    },
  }
}

function proxyOptionsOf(options: RouterOptions, pipeline: Pipeline): ProxyServerOptions {
  return {
    limits: {
      clientIdleTimeoutMs: options.clientIdleTimeoutMs,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      handshakesMax: options.handshakesMax,
      webSocketAgeMsMax: options.webSocketAgeMsMax,
    },
    headerPolicy: {
      // `x-cid` goes on as `contextOf` understood it: one field, checked.
      dropRequest: {
        names: ['authorization', 'x-cid', ...pipeline.authentication.privateHeaders],
        prefixes: ['x-waiter-'],
      },
      rewriteRequest: { cookie: withoutOwnCookies },
      dropResponse: { names: ['x-cid', ...CORS_ANSWERS], prefixes: [] },
      dropResponseCookiePrefixes: OWN_COOKIES,
    },
    upstreamTls: options.upstreamTls ?? {},
    onExchange: exchange => pipeline.handle(exchange),
    renderError: (status, message, head) => pipeline.renderRefusal(status, message, head),
    onRefusal: refusal => options.accessLog?.refused(refusal),
    log: options.log,
  }
}

/** Somebody says that a service's overrides or suspension changed: reads them now instead of waiting for the watch. */
async function refresh(
  store: KeyValueStore,
  mirrors: { readonly [Name in 'overrides' | 'suspensions']: Pick<StoreMirror<unknown>, 'learn'> },
  serviceId: string,
): Promise<void> {
  for (const name of ['overrides', 'suspensions'] as const) {
    const entry = await store.get(STORE_PREFIXES[name] + serviceId)
    if (entry !== undefined) mirrors[name].learn(serviceId, entry.value, entry.version)
  }
}
