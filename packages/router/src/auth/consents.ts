import type { Exchange } from '@waiter/proxy'
import {
  type ConsentContent,
  type ConsentGrant,
  type Descriptor,
  findCookie,
  isConsentGiven,
  readConsent,
  withBypass,
  writeConsent,
} from '@waiter/services'
import type { RequestError } from '../errors/error-response.ts'
import type { Visit } from '../request/admission.ts'
import { encodeTarget, targetOf } from '../request/own-targets.ts'
import { requestErrorOf } from '../request/request-errors.ts'
import type { Identity } from './identity.ts'
import type { SealedBox } from './sealed-box.ts'

export const CONSENT_COOKIE = 'x-waiter-consent'
export const CONSENT_PATH = '/waiter-consent'
/** Longest cookie value that is looked at. */
export const CONSENT_CHARS_MAX = 4_096
const MS_PER_S = 1_000
const SEE_OTHER = 303

export interface ConsentsOptions {
  readonly box: SealedBox
  readonly maxAgeSecs: number
  readonly nowMs: () => number
}

/** Who agreed that a token's service runs as himself (spec §1.10): kept in a sealed cookie of his own. */
export class Consents {
  readonly #options: ConsentsOptions

  constructor(options: ConsentsOptions) {
    this.#options = options
  }

  /** The service as it runs as the requester, if he agreed; else the way to the page that asks him. */
  judge = ({ exchange, selection }: Visit, identity: Identity): Descriptor | RequestError => {
    const resolution = selection.resolveFor({ user: identity.user, hasConsent: true })
    if (!resolution.ok) return requestErrorOf(resolution.error)
    const descriptor = resolution.value
    const grant = this.read(exchange, identity)
    if (grant !== undefined && this.#covers(grant, descriptor)) return descriptor
    const { path, query } = exchange.head
    const next = descriptor.effective['interstitial-secs'] > 0 ? withBypass(query, this.#options.nowMs()) : query
    return {
      status: SEE_OTHER,
      message: 'The service would run as you: please agree first',
      headers: [['location', encodeTarget(targetOf(`${CONSENT_PATH}${path}`, next))]],
    }
  }

  /** What the requester's cookie says; undefined for another's. */
  read({ head }: Exchange, { principal }: Identity): ConsentGrant | undefined {
    const value = findCookie(head.get('cookie') ?? '', CONSENT_COOKIE)
    return value === undefined ? undefined : readConsent(this.#options.box.open(value, principal))
  }

  /** A `set-cookie` field. */
  issue(grant: ConsentGrant, { principal }: Identity, isHttps: boolean): readonly [name: string, value: string] {
    const { box, maxAgeSecs } = this.#options
    const content: ConsentContent = writeConsent(grant)
    const value = box.seal(content, principal)
    const secure = isHttps ? '; Secure' : ''
    return ['set-cookie', `${CONSENT_COOKIE}=${value}; Path=/; Max-Age=${maxAgeSecs}; HttpOnly; SameSite=Lax${secure}`]
  }

  #covers(grant: ConsentGrant, { serviceId, discovery }: Descriptor): boolean {
    const [found] = discovery.records
    if (found === undefined) return false
    return isConsentGiven(grant, {
      serviceId,
      token: found.token,
      owner: found.record.owner,
      nowMs: this.#options.nowMs(),
      maxAgeMs: this.#options.maxAgeSecs * MS_PER_S,
    })
  }
}
