import { Client, credentials, InterceptingCall, type Interceptor, type ServiceError } from '@grpc/grpc-js'
import { createNodeAuth, type NodeAuth, type NodeAuthOptions, startRpcServer } from '@waiter/control'
import t, { type Test } from 'tap'
import { createAuthority } from './support/authority.ts'
import { auth, proofOf, SECRET, UNAUTHENTICATED } from './support/rpc-world.ts'

const PATH = '/test.Echo/Say'
const identity = (bytes: Buffer): Buffer => bytes
const definition = {
  say: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  },
} as const

interface Echo {
  readonly seen: string[]
  /** @param transport of the caller; in the clear when absent */
  call(interceptors: readonly Interceptor[], transport?: NodeAuth): Promise<string>
}

async function startEcho(t: Test, serverAuth: NodeAuth): Promise<Echo> {
  const seen: string[] = []
  const server = await startRpcServer(
    { host: '127.0.0.1', port: 0 },
    [
      {
        definition,
        handlers: {
          say: (call: { request: Buffer; metadata: { keys?: () => string[]; getMap(): object } }, done: unknown) => {
            seen.push(...Object.keys(call.metadata.getMap()).filter(name => name.startsWith('waiter-')))
            ;(done as (error: null, answer: Buffer) => void)(null, call.request)
          },
        },
      },
    ],
    serverAuth,
  )
  t.teardown(() => server.close())
  return {
    seen,
    call: (interceptors, transport) => {
      const client = new Client(server.address, transport?.channelCredentials ?? credentials.createInsecure(), {
        ...transport?.channelOptions,
        interceptors: [...interceptors],
      })
      t.teardown(() => client.close())
      return new Promise((resolve, reject) => {
        const timeLimit = { deadline: Date.now() + 10_000 }
        client.makeUnaryRequest(PATH, identity, identity, Buffer.from('hello'), timeLimit, (error, answer) =>
          error === null ? resolve(String(answer)) : reject(error),
        )
      })
    },
  }
}

const authOf = (nodeId: string, changes: Partial<NodeAuthOptions> = {}): NodeAuth =>
  createNodeAuth({ secrets: [SECRET], nodeId, ...changes })

/** One that has run long enough to know proofs from before. */
const oldAuth = (changes: Partial<NodeAuthOptions> = {}): NodeAuth => {
  let isStarted = false
  return authOf('node-1', {
    now: () => {
      const now = Date.now() - (isStarted ? 0 : 120_000)
      isStarted = true
      return now
    },
    ...changes,
  })
}

/** Shows each call's proof to `look`, and sends what that returns. */
function tamper(look: (proof: string) => string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set('waiter-node-proof', look(proofOf(metadata)))
        next(metadata, listener)
      },
    })
}

async function refusal(call: Promise<string>): Promise<string> {
  try {
    return `answered ${await call}`
  } catch (error) {
    const { code, details } = error as ServiceError
    return code === UNAUTHENTICATED ? details : `${code} ${details}`
  }
}

t.test('a node of the cluster is answered, and its proof is not passed on', async t => {
  const echo = await startEcho(t, auth)
  t.equal(await echo.call([auth.clientInterceptor]), 'hello')
  t.equal(await echo.call([authOf('node-2').clientInterceptor]), 'hello', 'any node id will do')
  t.same(echo.seen, [])
})

t.test('who is refused', async t => {
  const minutesAgo = authOf('node-1', { now: () => Date.now() - 61_000 })
  const inAMinute = authOf('node-1', { now: () => Date.now() + 61_000 })
  const rows: [sentence: string, interceptors: Interceptor[], reason: string][] = [
    ['a caller without a proof', [], 'no proof of membership'],
    [
      'a node of another cluster',
      [authOf('node-1', { secrets: ['some other secret entirely'] }).clientInterceptor],
      'wrong cluster secret',
    ],
    [
      'a node whose clock is slow',
      [minutesAgo.clientInterceptor],
      'clocks are more than 60 s apart: that of the calling host is 6',
    ],
    [
      'a node whose clock is fast',
      [inAMinute.clientInterceptor],
      'clocks are more than 60 s apart: that of the calling host is 6',
    ],
    ['a proof that is no proof', [auth.clientInterceptor, tamper(() => 'v1')], 'malformed proof'],
    ['an unknown version', [auth.clientInterceptor, tamper(p => p.replace('v1', 'v2'))], 'malformed proof'],
    [
      'a claim to be another',
      [auth.clientInterceptor, tamper(p => p.replace('node-1', 'node-2'))],
      'wrong cluster secret',
    ],
    ['a strange node id', [auth.clientInterceptor, tamper(p => p.replace('node-1', 'node/1'))], 'malformed node id'],
    ['a cut signature', [auth.clientInterceptor, tamper(p => p.slice(0, -1))], 'wrong cluster secret'],
    [
      'a later time',
      [auth.clientInterceptor, tamper(p => p.replace(/ \d{13} /, ` ${Date.now() + 5} `))],
      'wrong cluster secret',
    ],
    ['something behind it', [auth.clientInterceptor, tamper(p => `${p} x`)], 'malformed proof'],
  ]
  const echo = await startEcho(t, oldAuth())
  for (const [sentence, interceptors, reason] of rows)
    t.match(await refusal(echo.call(interceptors)), `WTR_NODE_REFUSED: ${reason}`, sentence)
})

t.test('clocks may be a little apart', async t => {
  const echo = await startEcho(t, oldAuth())
  t.equal(await echo.call([authOf('a', { now: () => Date.now() - 50_000 }).clientInterceptor]), 'hello')
  t.equal(await echo.call([authOf('b', { now: () => Date.now() + 50_000 }).clientInterceptor]), 'hello')
})

t.test('a proof counts once, and for its own method only', async t => {
  const echo = await startEcho(t, authOf('node-1'))
  let first = ''
  const record = tamper(proof => {
    first = proof
    return proof
  })
  t.equal(await echo.call([auth.clientInterceptor, record]), 'hello')
  t.equal(await refusal(echo.call([auth.clientInterceptor, tamper(() => first)])), 'WTR_NODE_REFUSED: replayed proof')

  let foreign = ''
  const other = await startEcho(t, authOf('node-1'))
  const elsewhere: Interceptor = (options, nextCall) =>
    auth.clientInterceptor({ ...options, method_definition: { ...options.method_definition, path: '/x' } }, nextCall)
  const keep = tamper(proof => {
    foreign = proof
    return proof
  })
  t.equal(await refusal(other.call([elsewhere, keep])), 'WTR_NODE_REFUSED: wrong cluster secret')
  t.match(foreign, /^v1 node-1 \d{13} [0-9a-f]{24} [0-9a-f]{64}$/, 'and the secret is not in it')
})

t.test('a proof does not outlive the process that took it', async t => {
  let proof = ''
  const record = tamper(given => {
    proof = given
    return given
  })
  const before = await startEcho(t, authOf('node-1', { now: () => Date.now() - 1_000 }))
  const caller = authOf('node-2', { now: () => Date.now() - 500 })
  t.equal(await before.call([caller.clientInterceptor, record]), 'hello')
  const after = await startEcho(t, authOf('node-1'))
  t.equal(
    await refusal(after.call([caller.clientInterceptor, tamper(() => proof)])),
    'WTR_NODE_REFUSED: proof from before this process started',
  )
  t.equal(await after.call([authOf('node-2').clientInterceptor]), 'hello', 'a fresh one is taken')
})

t.test('the secret is exchanged one node after the other', async t => {
  const both = await startEcho(t, authOf('node-1', { secrets: ['the new secret of the cluster', SECRET] }))
  t.equal(await both.call([authOf('node-2').clientInterceptor]), 'hello', 'a node that knows only the old one')
  const fresh = authOf('node-3', { secrets: ['the new secret of the cluster'] })
  t.equal(await both.call([fresh.clientInterceptor]), 'hello')
  const old = await startEcho(t, authOf('node-1'))
  t.equal(await refusal(old.call([fresh.clientInterceptor])), 'WTR_NODE_REFUSED: wrong cluster secret')
  t.throws(() => authOf('node-1', { secrets: [] }), RangeError)
})

t.test('mutual TLS: only with a certificate of the cluster', async t => {
  const cluster = createAuthority(t)
  const other = createAuthority(t)
  const tlsOf = (authority: typeof cluster) => ({ ...authority.issue('node.waiter'), serverName: 'node.waiter' })
  const tls = tlsOf(cluster)
  const echo = await startEcho(t, authOf('node-1', { tls }))
  const member = authOf('node-2', { tls })
  t.equal(await echo.call([member.clientInterceptor], member), 'hello')
  t.match(await refusal(echo.call([auth.clientInterceptor], auth)), /^14 /, 'in the clear')
  const stranger = authOf('node-2', { tls: { ...tlsOf(other), ca: tls.ca } })
  t.match(await refusal(echo.call([stranger.clientInterceptor], stranger)), /^14 /, 'a certificate of somebody else')
  const misled = authOf('node-2', { tls: { ...tls, ca: tlsOf(other).ca } })
  t.match(await refusal(echo.call([misled.clientInterceptor], misled)), /^14 /, 'a node that is not ours')
  const proofless = await refusal(echo.call([], member))
  t.equal(proofless, 'WTR_NODE_REFUSED: no proof of membership', 'a certificate is not enough')
})

t.test('an address that this machine does not have', async t => {
  await t.rejects(startRpcServer({ host: '192.0.2.1', port: 0 }, [], auth), {
    code: 'WTR_LISTEN_FAILED',
    message: /this machine does not have that address: --advertise one that it has/,
  })
})

t.test('an address that is taken', async t => {
  const first = await startRpcServer({ host: '127.0.0.1', port: 0 }, [], auth)
  t.teardown(() => first.close())
  const port = Number(first.address.split(':')[1])
  await t.rejects(startRpcServer({ host: '127.0.0.1', port }, [], auth), {
    code: 'WTR_LISTEN_FAILED',
    message: new RegExp(`^cannot listen for nodes on 127\\.0\\.0\\.1:${port}: the port is in use: .* --cluster-port`),
  })
})
