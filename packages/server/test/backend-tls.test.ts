import { writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { silentLogger } from '@waiter/base'
import { createProxyServer, type Exchange, type Outcome } from '@waiter/proxy'
import { makeCertificate, request, type TestCertificate } from '@waiter/testkit'
import t, { type Test } from 'tap'
import { type BackendTlsSettings, loadBackendTls } from '../src/tls/backend-tls.ts'

const backend = await makeCertificate({ names: ['backend.example'] })
const router = await makeCertificate({ names: ['router.example'] })

function filesOf(t: Test): Record<'cert' | 'key' | 'ca', string> {
  const directory = t.testdir()
  const write = (name: string, text: string): string => {
    const file = join(directory, name)
    writeFileSync(file, text)
    return file
  }
  return { cert: write('r.pem', router.cert), key: write('r.key', router.key), ca: write('ca.pem', backend.cert) }
}

/** Asks a backend that lets in only who shows the router's certificate. */
async function ask(t: Test, settings: BackendTlsSettings, { cert, key }: TestCertificate = backend): Promise<string> {
  const server = createServer({ cert, key, ca: router.cert, requestCert: true }, (incoming, response) => {
    response.end((incoming.socket as TLSSocket).getPeerCertificate().subject?.CN)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const forward = (exchange: Exchange): void =>
    exchange.forward({
      host: '127.0.0.1',
      port,
      protocol: 'https',
      extraRequestHead: '',
      extraResponseHead: '',
      connectTimeoutMs: 5_000,
      responseTimeoutMs: 5_000,
      streamIdleTimeoutMs: 5_000,
      onOutcome: (outcome: Outcome) => {
        if (outcome.kind === 'completed') return
        exchange.respond({ status: 502, headers: [], body: JSON.stringify(outcome) })
      },
    })
  const proxy = createProxyServer({
    headerPolicy: { dropRequest: { names: [], prefixes: [] } },
    onExchange: forward,
    upstreamTls: await loadBackendTls(settings),
    log: silentLogger,
  })
  t.teardown(() => proxy.close(0))
  const { port: own } = await proxy.listen({ host: '127.0.0.1', port: 0 })
  return (await request({ port: own })).text
}

t.test('instances that ask for a certificate get ours', async t => {
  const { cert, key, ca } = filesOf(t)
  t.equal(await ask(t, { verify: true, ca, 'server-name': 'backend.example', cert, key }), 'router.example')
})

t.test('instances that cannot prove who they are get nothing, when that is asked for', async t => {
  const { cert, key, ca } = filesOf(t)
  t.match(await ask(t, { verify: true, ca, 'server-name': 'other.example', cert, key }), 'not-sent')
  const stranger = await makeCertificate({ names: ['backend.example'] })
  t.match(await ask(t, { verify: true, ca, 'server-name': 'backend.example', cert, key }, stranger), 'not-sent')
  t.equal(await ask(t, { verify: false, cert, key }, stranger), 'router.example', 'the default believes everybody')
})

t.test('files that cannot be used are named', async t => {
  const { cert, key, ca } = filesOf(t)
  const code = 'WTR_CERTIFICATE'
  await t.rejects(loadBackendTls({ verify: false, cert: ca, key }), {
    code,
    message: /ca\.pem, .*r\.key: the key is not/,
  })
  await t.rejects(loadBackendTls({ verify: true, ca: key }), { code, message: /r\.key: no certificate in PEM/ })
  await t.rejects(loadBackendTls({ verify: true, ca: `${cert}.none` }), { code, message: /cannot read .*ENOENT/ })
})
