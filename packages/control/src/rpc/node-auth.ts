import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  type ChannelCredentials,
  type ClientOptions,
  credentials,
  InterceptingCall,
  type Interceptor,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js'

/** Metadata key of a call's proof that it comes from a node of this cluster. */
const METADATA_KEY = 'waiter-node-proof'
/** How far two nodes' clocks may be apart; also how long nonces must be remembered. */
const CLOCK_SKEW_MS_MAX = 60_000
/** Nonces remembered against replays: the newest ones. At 1,000 calls/s they cover more than the skew window. */
const NONCES_MAX = 65_536
const NODE_ID = /^[A-Za-z0-9._-]{1,128}$/

/**
 * Proof of membership for calls between nodes: HMAC-SHA256 over the caller's id, the time, a nonce and the method,
 * under a key derived (HKDF) from the cluster secret. The secret itself never travels. Calls without a valid proof are
 * refused before their message is read.
 */
export interface NodeAuth {
  /** Adds a proof to every call that a client makes. */
  readonly clientInterceptor: Interceptor
  /** Refuses calls without one. */
  readonly serverInterceptor: ServerInterceptor
  /** How a client connects: in the clear, or by mutual TLS. */
  readonly channelCredentials: ChannelCredentials
  readonly channelOptions: ClientOptions
  /** How a server lets others connect. */
  readonly serverCredentials: ServerCredentials
}

/** Mutual TLS between nodes: both sides show a certificate that the cluster's own authority signed. All PEM. */
export interface NodeTls {
  readonly ca: Buffer
  readonly cert: Buffer
  readonly key: Buffer
  /** The name in the certificates of nodes, when it is not the address by which they are reached. */
  readonly serverName?: string | undefined
}

export interface NodeAuthOptions {
  /** Shared by all nodes of a cluster, at least 16 characters each. The first makes proofs, all are accepted. */
  readonly secrets: readonly string[]
  /** Who we are. */
  readonly nodeId: string
  readonly tls?: NodeTls | undefined
  /** Epoch milliseconds. */
  readonly now?: () => number
}

/** Who calls has shown already that it has the secret. */
function describeSkew(skewMs: number): string {
  const MS_PER_S = 1_000
  const seconds = Math.round(Math.abs(skewMs) / MS_PER_S)
  const direction = skewMs > 0 ? 'behind' : 'ahead of'
  return `clocks are more than 60 s apart: that of the calling host is ${seconds} s ${direction} the one here; set both by NTP`
}

/**
 * A proof counts once: its nonce is remembered, and after a restart, which forgets nonces, no proof from before counts.
 * (A node whose clock is slow by some seconds is refused for that long after a restart, and tries again.)
 */
export function createNodeAuth({ secrets, nodeId, tls, now = Date.now }: NodeAuthOptions): NodeAuth {
  const keys = secrets.map(secret => Buffer.from(hkdfSync('sha256', secret, 'waiter', 'node-auth v1', 32)))
  const [newest] = keys
  if (newest === undefined) throw new RangeError('a cluster needs a secret')
  const startedAtMs = now()
  const seenNonces = new Set<string>()

  const prove = (method: string): string => {
    const claim = `v1 ${nodeId} ${now()} ${randomBytes(12).toString('hex')}`
    return `${claim} ${sign(newest, claim, method)}`
  }
  const refusalOf = (proof: unknown, method: string): string | undefined => {
    if (typeof proof !== 'string') return 'no proof of membership'
    const [version, caller, timeText, nonce, signature, ...rest] = proof.split(' ')
    if (version !== 'v1' || !caller || !timeText || !nonce || !signature || rest.length > 0) return 'malformed proof'
    if (!NODE_ID.test(caller)) return 'malformed node id'
    const claim = `v1 ${caller} ${timeText} ${nonce}`
    if (!keys.some(key => isSignature(signature, sign(key, claim, method)))) return 'wrong cluster secret'
    const skewMs = now() - Number(timeText)
    if (!(Math.abs(skewMs) <= CLOCK_SKEW_MS_MAX)) return describeSkew(skewMs)
    if (Number(timeText) < startedAtMs) return 'proof from before this process started'
    if (seenNonces.has(nonce)) return 'replayed proof'
    if (seenNonces.size >= NONCES_MAX) seenNonces.delete(seenNonces.values().next().value ?? '')
    seenNonces.add(nonce)
    return undefined
  }

  return {
    ...transportOf(tls),
    clientInterceptor: (options, nextCall) =>
      new InterceptingCall(nextCall(options), {
        start: (metadata, listener, next) => {
          metadata.set(METADATA_KEY, prove(options.method_definition.path))
          next(metadata, listener)
        },
      }),
    serverInterceptor: (method, call) => {
      const intercepted: ServerInterceptingCall = new ServerInterceptingCall(call, {
        start: next => {
          next({
            onReceiveMetadata: (metadata, nextMetadata) => {
              const refusal = refusalOf(metadata.get(METADATA_KEY)[0], method.path)
              if (refusal === undefined) {
                metadata.remove(METADATA_KEY)
                nextMetadata(metadata)
                return
              }
              call.sendStatus({ code: status.UNAUTHENTICATED, details: `WTR_NODE_REFUSED: ${refusal}` })
            },
          })
        },
      })
      return intercepted
    },
  }
}

function sign(key: Buffer, claim: string, method: string): string {
  return createHmac('sha256', key).update(`${claim} ${method}`).digest('hex')
}

function isSignature(given: string, expected: string): boolean {
  const bytes = Buffer.from(given)
  return bytes.length === expected.length && timingSafeEqual(bytes, Buffer.from(expected))
}

type Transport = Pick<NodeAuth, 'channelCredentials' | 'channelOptions' | 'serverCredentials'>

function transportOf(tls: NodeTls | undefined): Transport {
  if (tls === undefined) {
    return {
      channelCredentials: credentials.createInsecure(),
      channelOptions: {},
      serverCredentials: ServerCredentials.createInsecure(),
    }
  }
  const { ca, cert, key, serverName } = tls
  return {
    channelCredentials: credentials.createSsl(ca, key, cert),
    channelOptions: serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName },
    serverCredentials: ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true),
  }
}
