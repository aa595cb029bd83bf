import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  InterceptingCall,
  type Interceptor,
  ServerInterceptingCall,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js'

/** Metadata key of a call's proof that it comes from a node of this cluster. */
const METADATA_KEY = 'waiter-node-proof'
/** How far two nodes' clocks may be apart; also how long a proof could be replayed were its nonce forgotten. */
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
}

/**
 * @param clusterSecret shared by all nodes of a cluster; at least 16 characters
 * @param nodeId who we are
 * @param now epoch milliseconds
 */
export function createNodeAuth(clusterSecret: string, nodeId: string, now: () => number = Date.now): NodeAuth {
  const key = Buffer.from(hkdfSync('sha256', clusterSecret, 'waiter', 'node-auth v1', 32))
  const seenNonces = new Set<string>()

  const prove = (method: string): string => {
    const claim = `v1 ${nodeId} ${now()} ${randomBytes(12).toString('hex')}`
    return `${claim} ${sign(key, claim, method)}`
  }
  const refusalOf = (proof: unknown, method: string): string | undefined => {
    if (typeof proof !== 'string') return 'no proof of membership'
    const [version, caller, timeText, nonce, signature, ...rest] = proof.split(' ')
    if (version !== 'v1' || !caller || !timeText || !nonce || !signature || rest.length > 0) return 'malformed proof'
    if (!NODE_ID.test(caller)) return 'malformed node id'
    const expected = Buffer.from(sign(key, `v1 ${caller} ${timeText} ${nonce}`, method))
    const given = Buffer.from(signature)
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'wrong cluster secret'
    if (!(Math.abs(now() - Number(timeText)) <= CLOCK_SKEW_MS_MAX)) return 'clocks are more than 60 s apart'
    if (seenNonces.has(nonce)) return 'replayed proof'
    if (seenNonces.size >= NONCES_MAX) seenNonces.delete(seenNonces.values().next().value ?? '')
    seenNonces.add(nonce)
    return undefined
  }

  return {
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
