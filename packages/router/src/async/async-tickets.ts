import type { SealedBox } from '../auth/sealed-box.ts'
import { LOCATION_CHARS_MAX } from './async-location.ts'

/** What a URL of ours about an asynchronous request is for. */
export type AsyncAbout = 'status' | 'result'

/** All that any router must know to go on with a request that another one accepted. */
export interface AsyncTicket {
  readonly requestId: string
  /** The router that keeps its slot. */
  readonly routerId: string
  readonly serviceId: string
  readonly instanceId: string
  /** Path and query on the instance. */
  readonly location: string
  /** Wall clock. */
  readonly acceptedAtMs: number
  readonly requestTimeoutMs: number
  readonly checkIntervalMs: number
  /** Nobody is asked who he is: the token disables authentication. */
  readonly isOpen: boolean
  /** The token lets anybody permitted start its service. */
  readonly isPreauthorized: boolean
}

const PREFIX = '/waiter-async/v2/'
/** A ticket holds one location and a few names. */
export const TICKET_CHARS_MAX = 8_192

/**
 * URLs about asynchronous requests: `/waiter-async/v2/status/<request id>/<ticket><path>?<query>`. The ticket is sealed:
 * clients can neither see which address it means nor make one up. Path and query are there for people, and for links
 * that are relative; a client may add to the query, and change nothing else.
 */
export class AsyncTickets {
  readonly #box: SealedBox

  constructor(box: SealedBox) {
    this.#box = box
  }

  urlOf(about: AsyncAbout, ticket: AsyncTicket): string {
    return `${PREFIX}${about}/${ticket.requestId}/${this.#box.seal(ticket, about)}${ticket.location}`
  }

  /** The ticket in a URL, its location as the client asks for it; undefined: it is none of ours. */
  read(path: string, query: string | null): { readonly about: AsyncAbout; readonly ticket: AsyncTicket } | undefined {
    const [, about, requestId, sealed, rest = ''] =
      /^\/waiter-async\/v2\/(status|result)\/([^/]{1,256})\/([^/]+)(\/.*)$/.exec(path) ?? []
    if (sealed === undefined || !isAbout(about) || rest.length > LOCATION_CHARS_MAX) return undefined
    const ticket = this.#box.open(sealed, about) as AsyncTicket | undefined
    if (ticket === undefined || ticket.requestId !== requestId) return undefined
    const location = query === null ? rest : `${rest}?${query}`
    return isExtension(ticket.location, location) ? { about, ticket: { ...ticket, location } } : undefined
  }
}

function isAbout(about: string | undefined): about is AsyncAbout {
  return about === 'status' || about === 'result'
}

function isExtension(issued: string, asked: string): boolean {
  return asked === issued || asked.startsWith(`${issued}${issued.includes('?') ? '&' : '?'}`)
}
