import type { OwnResponse, RequestHead } from '@waiter/proxy'
import type { ErrorContext, RequestError } from '../errors/error-response.ts'

/** gRPC's codes for the statuses that Waiter answers with (spec §1.7); 2 is UNKNOWN. */
const CODES: Readonly<Record<number, number>> = {
  400: 3,
  401: 16,
  403: 7,
  404: 5,
  405: 12,
  408: 4,
  412: 9,
  413: 8,
  429: 14,
  500: 13,
  502: 14,
  503: 14,
  504: 4,
}
const UNKNOWN_CODE = 2
/** Of every gRPC answer: a client that sees another status looks no further and makes up a code of its own. */
export const GRPC_HTTP_STATUS = 200
/** UNAVAILABLE: the backend has too much to do. */
const BUSY = '14'

const GRPC_CONTENT_TYPE = /^application\/grpc(?:$|[+;])/

/** True for a gRPC call: only HTTP/2 carries it. */
export function isGrpcRequest(head: Pick<RequestHead, 'httpVersion' | 'get'>): boolean {
  return head.httpVersion === '2.0' && GRPC_CONTENT_TYPE.test(head.get('content-type') ?? '')
}

/** True when a `grpc-status` means that the instance has too much to do (spec §1.8). */
export function isBusyStatus(grpcStatus: string | undefined): boolean {
  return grpcStatus === BUSY
}

/** The `grpc-status` that stands for a status of Waiter's own. */
export function grpcStatusOf(status: number): string {
  return String(CODES[status] ?? UNKNOWN_CODE)
}

/** An error as a gRPC client understands it: a response that is only trailers. */
export function renderGrpcError(error: RequestError, context: Pick<ErrorContext, 'own'>): OwnResponse {
  return {
    status: GRPC_HTTP_STATUS,
    headers: [
      ['content-type', 'application/grpc'],
      ['grpc-status', grpcStatusOf(error.status)],
      ['grpc-message', encodeMessage(error.message)],
      ...context.own,
      ...(error.headers ?? []),
    ],
  }
}

/** Percent-encoding as gRPC wants it: everything but printable ASCII, and `%` itself. */
function encodeMessage(message: string): string {
  return message
    .toWellFormed()
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ')
    .replaceAll(/[^\x20-\x7e]+|%/g, text => (text === '%' ? '%25' : encodeURIComponent(text)))
}
