import { startWaiter, type TestRequest, type TestResponse } from '@waiter/testkit'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { helloService, postToken } from './support/services.ts'

/** The document that describes the API is held against real answers: every operation, with several routers. */
const waiter = await startWaiter({ args: ['--nodes', '2'] })
t.teardown(() => waiter.stop())

interface Operation {
  readonly operationId: string
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, { schema?: object }>> }>>
}

const document = await waiter.api('/openapi.json')
const paths = document.paths as Record<string, Record<string, Operation>>
const ajv = new Ajv2020({ strict: false })
ajv.addSchema({ $id: 'doc', components: document.components })
const seen = new Set<string>()

function findOperation(method: string, path: string): Operation {
  const wanted = path.split('?', 1)[0]?.split('/') ?? []
  const matches = Object.keys(paths).filter(pattern => {
    const parts = pattern.split('/')
    return parts.length === wanted.length && parts.every((part, at) => part.startsWith('{') || part === wanted[at])
  })
  const pattern = matches.find(match => !match.includes('{')) ?? matches[0] ?? ''
  const operation = paths[pattern]?.[method.toLowerCase()]
  if (operation === undefined) throw new Error(`the document has no ${method} ${path}`)
  return operation
}

function validatorOf(operation: Operation, status: number): ValidateFunction | undefined {
  const answer = operation.responses[String(status)] ?? operation.responses.default
  const schema = answer?.content?.['application/json']?.schema
  if (schema === undefined) return undefined
  return ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"doc#/components')))
}

type Wanted = Omit<TestRequest, 'port'> & { readonly port?: number; readonly status?: number }

/** Sends a request and checks that the answer is what the document says. */
async function check(t: Test, wanted: Wanted): Promise<TestResponse> {
  const { status = 200, ...request } = wanted
  const method = request.method ?? 'GET'
  const path = request.path ?? '/'
  const answer = await waiter.request({ ...request, headers: { accept: 'application/json', ...request.headers } })
  const operation = findOperation(method, path)
  seen.add(operation.operationId)
  t.equal(answer.status, status, `${method} ${path}: ${answer.text.slice(0, 300)}`)
  const isJson = answer.headers['content-type']?.startsWith('application/json')
  const validate = validatorOf(operation, answer.status)
  if (validate !== undefined && isJson) {
    const isValid = validate(JSON.parse(answer.text.split('\n', 1)[0] ?? ''))
    t.ok(isValid, `${method} ${path} is as described: ${JSON.stringify(validate.errors)}: ${answer.text.slice(0, 600)}`)
  }
  t.ok(answer.headers['x-cid'], `${method} ${path} has a correlation id`)
  return answer
}

const json = { 'content-type': 'application/json' }
const post = (path: string, body: unknown): Wanted => ({
  method: 'POST',
  path,
  headers: json,
  body: JSON.stringify(body),
})

t.test('the document itself', async t => {
  t.equal(document.openapi, '3.1.0')
  const ids = Object.values(paths).flatMap(operations => Object.values(operations).map(one => one.operationId))
  t.equal(new Set(ids).size, ids.length, 'every operation has an id of its own')
})

t.test('pages, operations, who is asking', async t => {
  for (const path of [
    '/',
    '/status?include=request-info&include=server-info',
    '/settings',
    '/profiles',
    '/openapi.json',
  ])
    await check(t, { path })
  for (const path of ['/favicon.ico', '/images/waiter.svg', '/waiter-auth', '/.well-known/auth/expires-at'])
    await check(t, { path })
  await check(t, { path: '/images/none', status: 404 })
  await check(t, { path: '/.well-known/auth/keep-alive?offset=1&done=true', status: 204 })
  await check(t, { path: '/.well-known/oidc/v1/openid-enabled', status: 501 })
  await check(t, { path: '/oidc/v1/callback', status: 501 })
  await check(t, { path: '/waiter-consent-cookie' })
  await check(t, { path: '/waiter-interstitial/x' })
  await check(t, { path: '/drain' })
  await check(t, { path: '/cluster/members' })
  await check(t, { path: '/waiter-interstitial/x' })
  await check(t, { path: '/waiter-consent-cookie' })
  await check(t, { path: '/waiter-consent/x', status: 400 })
  await check(t, { method: 'POST', path: '/waiter-consent', status: 400 })
})

t.test('tokens', async t => {
  await check(t, post('/token?token=documented', helloService('documented', { 'permitted-user': '*' })))
  await check(t, { path: '/token?token=documented&include=metadata' })
  await check(t, { path: '/token?token=absent', status: 404 })
  await check(t, { path: '/tokens?include=metadata&include=deleted' })
  await check(t, { path: '/tokens/owners' })
  await check(t, { path: '/token-history?token=documented' })
  await check(t, post('/tokens/refresh', { token: 'documented' }))
  await check(t, post('/tokens/reindex', {}))
  const notice = { 'reference-name': 'n', 'reference-type': 't', 'update-time': '2026-01-01T00:00:00.000Z' }
  await check(t, post('/reference/notify', notice))
  await postToken(waiter, 'short-lived', helloService('short-lived'))
  await check(t, { method: 'DELETE', path: '/token?token=short-lived' })
})

t.test('a service from its start to its end', async t => {
  const token = { 'x-waiter-token': 'documented' }
  const id = (await check(t, { path: '/service-id', headers: token })).text
  t.equal((await check(t, { path: '/app-name', headers: token })).text, id)
  await check(t, { path: '/waiter-ping', headers: token })
  await check(t, { method: 'POST', path: '/waiter-ping?exclude=service-state', headers: token })
  await check(t, { path: '/waiter-ping', headers: { 'x-waiter-token': 'absent' } })
  await check(t, { path: '/waiter-consent/x', headers: { host: 'documented' } })
  await check(t, { method: 'POST', path: '/waiter-consent', status: 400 })
  await check(t, { path: '/apps?effective-parameters=true&include=healthy-instances&include=references' })
  await check(t, { path: `/apps/${id}?include=metrics&include=references&effective-parameters=true` })
  await check(t, { path: '/apps/absent', status: 404 })
  await check(t, { path: `/apps/${id}/await/healthy?timeout=5000` })
  await check(t, { path: `/apps/${id}/await/healthy`, status: 400 })
  await check(t, { path: '/apps/instances?watch=true&streaming-timeout=50' })
  await check(t, { path: '/apps/instances', status: 400 })
  await check(t, post(`/apps/${id}/override`, { 'scale-factor': 0.9 }))
  await check(t, { ...post(`/apps/${id}/override`, { cmd: 'other' }), status: 400 })
  await check(t, { path: `/apps/${id}/override` })
  await check(t, { method: 'DELETE', path: `/apps/${id}/override` })
  for (const method of ['GET', 'POST'])
    for (const action of ['suspend', 'resume']) await check(t, { method, path: `/apps/${id}/${action}` })
  await check(t, { path: `/apps/${id}` })
  await check(t, { path: `/apps/${id}/refresh` })

  const details = await waiter.api(`/apps/${id}`)
  const instance = details.instances['active-instances'][0]
  const logs = `/apps/${id}/logs?instance-id=${instance.id}&host=${instance.host}`
  await check(t, { path: logs })
  await check(t, { path: `${logs}&file=stdout` })
  await check(t, { path: `${logs}&file=stderr`, headers: { range: 'bytes=999999-' }, status: 416 })

  const ejection = { instance: { id: instance.id, 'service-id': id }, 'period-in-ms': 1, reason: 'to see' }
  const answers = await Promise.all(
    waiter.ports.map(port => waiter.request({ port, ...(post('/eject', ejection) as object) })),
  )
  t.ok(
    answers.some(({ status }) => status === 200),
    'some router uses it, and leaves it alone',
  )
  await check(t, { ...post('/eject', { ...ejection, instance: { id: 'x', 'service-id': id } }), status: 503 })
  await check(t, { path: `/ejected/${id}` })

  await check(t, { path: '/metrics' })
  await check(t, { path: `/metrics?service-id=${id}&name=request-counts` })
  await check(t, { path: '/metrics?format=prometheus' })
  await check(t, post('/metrics/external', { cluster: 'waiter', 'service-metrics': {} }))
  await check(t, { ...post('/metrics/external', { cluster: 'other', 'service-metrics': {} }), status: 400 })
  for (const method of ['GET', 'PUT', 'DELETE']) await check(t, { method, path: '/metrics/external', status: 400 })

  const state = JSON.parse((await check(t, { path: '/state' })).text)
  for (const name of Object.keys(state.details)) await check(t, { path: `/state/${name}` })
  await check(t, { path: `/state/${id}` })
  await check(t, { path: '/state/absent', status: 404 })

  await check(t, { method: 'POST', path: `/apps/${id}/instance/${instance.id}/expire` })
  await check(t, { method: 'POST', path: `/apps/${id}/instance/absent/kill`, status: 404 })
  await check(t, { method: 'POST', path: `/apps/${id}/instance/${instance.id}/kill?force=true` })
  await check(t, { method: 'DELETE', path: `/apps/${id}?timeout=10000` })
  await check(t, { method: 'DELETE', path: `/apps/${id}`, status: 404 })
})

t.test('asynchronous requests: addresses that nobody was given; real ones are in async.test.ts', async t => {
  for (const method of ['GET', 'DELETE']) await check(t, { method, path: '/waiter-async/v2/status/x', status: 404 })
  for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'])
    await check(t, { method, path: '/waiter-async/v2/result/x', status: 404 })
})

t.test('at the end of a node', async t => {
  await check(t, { method: 'POST', path: '/cluster/transfer-leader?node=node-1' })
  const { text: snapshot } = await check(t, { path: '/cluster/snapshot' })
  await check(t, { method: 'POST', path: '/cluster/restore?force=true', body: snapshot })
  await check(t, { method: 'POST', path: '/cluster/restore', body: snapshot.slice(1), status: 400 })
  await check(t, { method: 'POST', path: '/cluster/leave?node=node-1', status: 409 })
  await check(t, { method: 'POST', path: '/cluster/leave?node=node-2', status: 404 })
  await check(t, { method: 'POST', path: '/drain?node=absent', status: 404 })
  await check(t, { method: 'POST', path: '/undrain?node=absent', status: 404 })
  await check(t, { method: 'POST', path: '/undrain' })
  await check(t, { method: 'POST', path: '/drain' })
  await check(t, { path: '/status', status: 503 })
  t.equal((await waiter.request({ path: '/status', port: waiter.ports[1] as number })).status, 200, 'the other is not')
})

t.test('nothing that is described was left out here', async t => {
  const described = Object.values(paths).flatMap(operations => Object.values(operations).map(one => one.operationId))
  t.same(
    described.filter(id => !seen.has(id)),
    [],
  )
})
