import t from 'tap'
import { type ErrorContext, renderRequestError } from '../src/errors/error-response.ts'
import { isBusyStatus, isGrpcRequest } from '../src/request/grpc.ts'

const context: ErrorContext = {
  cid: 'cid-1',
  method: 'POST',
  host: 'a',
  path: '/test.Echo/Unary',
  query: null,
  accept: undefined,
  contentType: 'application/grpc',
  isGrpc: true,
  principal: null,
  serviceId: null,
  instanceId: null,
  supportInfo: [],
  timestamp: new Date(0),
  own: [['x-cid', 'cid-1']],
}

t.test('what is a gRPC call', async t => {
  const rows: [sentence: string, version: '1.1' | '2.0', contentType: string | undefined, isGrpc: boolean][] = [
    ['over HTTP/2, by its content type', '2.0', 'application/grpc', true],
    ['with an encoding', '2.0', 'application/grpc+proto', true],
    ['not what only begins so', '2.0', 'application/grpc-web', false],
    ['not without a type', '2.0', undefined, false],
    ['not over HTTP/1.1', '1.1', 'application/grpc', false],
  ]
  for (const [sentence, httpVersion, contentType, expected] of rows)
    t.equal(isGrpcRequest({ httpVersion, get: () => contentType }), expected, sentence)
  t.ok(isBusyStatus('14'))
  t.notOk(isBusyStatus('13') || isBusyStatus(undefined))
})

t.test('an error is trailers only: status 200, a gRPC status, the message in one line of ASCII', async t => {
  const rows: [status: number, code: string][] = [
    [400, '3'],
    [401, '16'],
    [403, '7'],
    [429, '14'],
    [500, '13'],
    [502, '14'],
    [503, '14'],
    [504, '4'],
    [418, '2'],
  ]
  for (const [status, code] of rows) {
    const answer = renderRequestError({ status, message: 'no' }, context)
    t.equal(answer.status, 200)
    t.equal(answer.body, undefined)
    t.same(new Map(answer.headers).get('grpc-status'), code, `status ${status}`)
  }
  const answer = renderRequestError({ status: 503, message: '100 % full\n  try später' }, context)
  const headers = new Map(answer.headers)
  t.equal(headers.get('grpc-message'), '100 %25 full; try sp%C3%A4ter')
  t.equal(headers.get('content-type'), 'application/grpc')
  t.equal(headers.get('x-cid'), 'cid-1')
})

t.test('who accepts a page gets a page', async t => {
  const answer = renderRequestError({ status: 503, message: 'no' }, { ...context, accept: 'application/json' })
  t.equal(answer.status, 503)
})
