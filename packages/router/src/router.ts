import { randomInt } from 'node:crypto'
import { createPrng } from '@waiter/base'
import type { LeaderLink } from '@waiter/control'
import type { Certificates, ListenOptions, ProxyServer } from '@waiter/proxy'
import { type OverridesRecord, STORE_PREFIXES } from '@waiter/services'
import { StoreMirror } from '@waiter/store/port'
import { createApi } from './api/create-api.ts'
import { OverrideService } from './overrides/override-service.ts'
import { Pipeline } from './pipeline.ts'
import { OWN_COOKIES, withoutOwnCookies } from './request/own-cookies.ts'
import type { RouterOptions } from './router-options.ts'
import { ServiceTable } from './services/service-table.ts'
import { TokenReplica } from './tokens/token-replica.ts'
import { TokenService } from './tokens/token-service.ts'

/** A router: takes clients' requests and serves them, with or without a leader. */
export interface Router {
  readonly table: ServiceTable
  /** @returns the port */
  listen(options: ListenOptions): Promise<number>
  /** New certificates for the listeners with TLS. */
  setCertificates(certificates: Certificates): void
  /** Connects it with the leader. */
  connect(link: LeaderLink): void
  /** Finishes what runs within `graceMs`. */
  stop(graceMs: number): Promise<void>
}

/** Whom a page may call is Waiter's to say (spec §1.12): browsers refuse an answer that says it twice. */
const CORS_ANSWERS = ['access-control-allow-origin', 'access-control-allow-credentials']

/** Builds a router; it listens when told to. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const tokens = new TokenReplica(options.store, options.log)
  const overrides = new StoreMirror<OverridesRecord>({
    store: options.store,
    prefix: STORE_PREFIXES.overrides,
    parse: text => JSON.parse(text) as OverridesRecord,
    onChange: () => pipeline.forgetDescriptors(),
    log: options.log,
  })
  const mirrors = [tokens, overrides]
  let proxy: ProxyServer | undefined
  let link: LeaderLink | undefined
  const table = new ServiceTable({
    ejection: options.ejection,
    random: createPrng(randomInt(2 ** 32)),
    nowMs: () => performance.now(),
    onInstanceRetired: (host, port) => proxy?.closeUpstream(host, port),
  })
  const api = createApi({
    options,
    table,
    tokens,
    tokenService: new TokenService({ ...options, replica: tokens }),
    overrides: new OverrideService({ ...options, mirror: overrides }),
    leader: () => link,
    pipeline: () => pipeline,
  })
  const pipeline = new Pipeline(options, { table, tokens, overrides, api })
  proxy = options.createProxyServer({
    limits: {
      clientIdleTimeoutMs: options.clientIdleTimeoutMs,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      handshakesMax: options.handshakesMax,
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
    onExchange: exchange => pipeline.handle(exchange),
    onRefusal: refusal => options.accessLog?.refused(refusal),
    log: options.log,
  })
  const server = proxy
  const following = mirrors.map(mirror => mirror.run())
  await Promise.all(mirrors.map(mirror => mirror.ready))
  return {
    table,
    listen: async listenOptions => (await server.listen(listenOptions)).port,
    setCertificates: certificates => server.setCertificates(certificates),
    connect: leaderLink => {
      link = leaderLink
      table.connect(leaderLink)
    },
    stop: async graceMs => {
      await server.close(graceMs)
      link?.close()
      for (const mirror of mirrors) mirror.stop()
      await Promise.all(following)
      table.dispose()
      await options.store.close()
      await options.accessLog?.close()
    },
  }
}
