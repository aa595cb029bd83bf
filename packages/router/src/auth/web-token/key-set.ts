import type { Logger } from '@waiter/base'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import type { FetchJson } from './fetch-json.ts'

/** Algorithms that can be configured: all of them asymmetric, so that no public key can be taken for a secret. */
export type TokenAlgorithm = 'EdDSA' | 'ES256' | 'RS256'

/** A provider has a handful; who sends more is not one. */
const KEYS_MAX = 100
const KEY_ID_CHARS_MAX = 256
/** An unknown key id asks for the keys anew, at most this often: anybody can invent ids. */
const REFETCH_MS_MIN = 10_000
/** After a failure they are asked for again after this, doubled with each further one. */
const RETRY_MS_MIN = 1_000
const RETRY_MS_MAX = 60_000

export interface KeySetOptions {
  readonly url: string
  readonly updateIntervalMs: number
  readonly timeoutMs: number
  readonly algorithms: readonly TokenAlgorithm[]
  readonly fetchJson: FetchJson
  readonly nowMs: () => number
  /** Calls back once, unless the function that it returns is called before. */
  readonly after: (delayMs: number, callback: () => void) => () => void
  readonly log: Logger
}

interface TokenKey {
  readonly algorithm: TokenAlgorithm
  readonly key: CryptoKey
  /** As it was fetched. */
  readonly text: string
}

/**
 * The public keys of an identity provider (JWKS), by id. They are fetched every so often, and when a token names one
 * that is not known; while the provider does not answer, the keys from before remain.
 */
export class KeySet {
  readonly #options: KeySetOptions
  #keyById: ReadonlyMap<string, TokenKey> = new Map()
  #generation = 0
  #triedAtMs = Number.NEGATIVE_INFINITY
  #fetchedAtMs: number | undefined
  #failures = 0
  #problem: string | undefined
  #running: Promise<void> | undefined
  #cancelTimer: (() => void) | undefined
  readonly #end = new AbortController()

  constructor(options: KeySetOptions) {
    this.#options = options
  }

  /** Changes whenever keys change: what was verified before may not be valid any more. */
  get generation(): number {
    return this.#generation
  }

  start(): void {
    void this.#refresh()
  }

  stop(): void {
    this.#end.abort()
    this.#cancelTimer?.()
  }

  /** The key for a token's header; asks the provider when it is unknown, unless it was asked a moment ago. */
  async find(keyId: string, algorithm: string): Promise<CryptoKey | undefined> {
    if (!this.#keyById.has(keyId)) {
      const isTooSoon = this.#options.nowMs() < this.#triedAtMs + REFETCH_MS_MIN
      if (this.#running !== undefined || !isTooSoon) await this.#refresh()
    }
    const found = this.#keyById.get(keyId)
    return found?.algorithm === algorithm ? found.key : undefined
  }

  /** For `/state`. */
  state(): Readonly<Record<string, unknown>> {
    return {
      url: this.#options.url,
      'key-ids': [...this.#keyById.keys()],
      'last-update-time': this.#fetchedAtMs === undefined ? null : new Date(this.#fetchedAtMs).toISOString(),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    }
  }

  /** One at a time; never rejects. */
  #refresh(): Promise<void> {
    if (this.#end.signal.aborted) return Promise.resolve()
    this.#running ??= this.#fetch().finally(() => {
      this.#running = undefined
      this.#schedule()
    })
    return this.#running
  }

  async #fetch(): Promise<void> {
    const { url, timeoutMs, nowMs, log } = this.#options
    this.#triedAtMs = nowMs()
    try {
      const answer = await this.#options.fetchJson({ url, timeoutMs, signal: this.#end.signal })
      const keys = await readKeys(answer, this.#options.algorithms)
      this.#replace(keys)
      this.#fetchedAtMs = nowMs()
      this.#failures = 0
      this.#problem = undefined
    } catch (error) {
      if (this.#end.signal.aborted) return
      this.#failures += 1
      this.#problem = `could not fetch the keys: ${reasonOf(error)}`
      log.warn({ url, err: error, keys: this.#keyById.size }, 'could not fetch the keys of the identity provider')
    }
  }

  /** The same keys again change nothing. */
  #replace(keys: ReadonlyMap<string, TokenKey>): void {
    const isSame =
      keys.size === this.#keyById.size && [...keys].every(([id, key]) => this.#keyById.get(id)?.text === key.text)
    if (isSame) return
    this.#keyById = keys
    this.#generation += 1
  }

  #schedule(): void {
    this.#cancelTimer?.()
    if (this.#end.signal.aborted) return
    const { updateIntervalMs, after } = this.#options
    const retryMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(this.#failures - 1, 10))
    const delayMs = this.#failures === 0 ? updateIntervalMs : Math.min(retryMs, updateIntervalMs)
    this.#cancelTimer = after(delayMs, () => void this.#refresh())
  }
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error ? `${message} (${cause.message})` : message
}

/** Keys that cannot be used (other algorithms, no id, for encryption) are passed over: a provider may have such, too. */
async function readKeys(
  answer: unknown,
  algorithms: readonly TokenAlgorithm[],
): Promise<ReadonlyMap<string, TokenKey>> {
  const list = (answer as { readonly keys?: unknown } | null)?.keys
  if (!Array.isArray(list)) throw new Error('its answer has no list `keys`')
  if (list.length > KEYS_MAX) throw new Error(`its answer has more than ${KEYS_MAX} keys`)
  const keys = new Map<string, TokenKey>()
  for (const jwk of list as readonly JWK[]) {
    const algorithm = algorithmOf(jwk)
    const id = jwk?.kid
    if (algorithm === undefined || !algorithms.includes(algorithm)) continue
    if (typeof id !== 'string' || id === '' || id.length > KEY_ID_CHARS_MAX || keys.has(id)) continue
    const key = await importJWK(publicPartOf(jwk), algorithm).catch(() => undefined)
    if (key instanceof CryptoKey) keys.set(id, { algorithm, key, text: JSON.stringify(publicPartOf(jwk)) })
  }
  if (keys.size === 0) throw new Error(`its answer has no key for ${algorithms.join(' or ')}`)
  return keys
}

/** A key is for one algorithm only: whatever a token says, nothing else is tried with it. */
function algorithmOf(jwk: JWK | null): TokenAlgorithm | undefined {
  if (typeof jwk !== 'object' || jwk === null || (jwk.use !== undefined && jwk.use !== 'sig')) return undefined
  const algorithm = algorithmByType(jwk)
  const isMeant = jwk.alg === undefined || jwk.alg === algorithm || (jwk.alg === 'Ed25519' && algorithm === 'EdDSA')
  return isMeant ? algorithm : undefined
}

function algorithmByType({ kty, crv }: JWK): TokenAlgorithm | undefined {
  if (kty === 'RSA') return 'RS256'
  if (kty === 'OKP' && crv === 'Ed25519') return 'EdDSA'
  return kty === 'EC' && crv === 'P-256' ? 'ES256' : undefined
}

/** Only what makes a public key: a provider that publishes private parts by mistake must not put them here. */
function publicPartOf({ kty, crv, n, e, x, y }: JWK): JWK {
  return JSON.parse(JSON.stringify({ kty, crv, n, e, x, y })) as JWK
}
