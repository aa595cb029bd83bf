import { inspect } from 'node:util'
import { makeCertificate } from '@waiter/testkit'
import t from 'tap'
import { loadCertificate } from '../../src/index.ts'
import { deriveTicketKeys, TICKET_ROTATION_MS } from '../../src/tls/ticket-keys.ts'

const pem = await makeCertificate({ names: ['a.example', '*.b.example', '127.0.0.1'] })
const other = await makeCertificate({ names: ['c.example'] })

t.test('a certificate says what it is for, and until when', async t => {
  const certificate = loadCertificate(pem)
  t.same(certificate.names, ['a.example', '*.b.example'])
  t.ok(certificate.validFromMs <= Date.now() && certificate.validToMs > Date.now() + 24 * 3_600_000)
  t.match(certificate.fingerprint, /^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/)
  t.same(loadCertificate({ ...pem, names: ['x.example'] }).names, ['x.example'], 'or for what it is told to')
})

t.test('nothing that prints it shows the key', async t => {
  const secret = pem.key.split('\n')[1] as string
  const certificate = loadCertificate(pem)
  for (const text of [inspect(certificate, { depth: 9, showHidden: true }), JSON.stringify(certificate)])
    t.notMatch(text, secret)
})

t.test('what is wrong is said, without a word of the key', async t => {
  const secret = other.key.split('\n')[1] as string
  const cut = (text: string): string => text.slice(0, text.length / 2)
  const rows: [sentence: string, given: { cert: string; key: string }, message: RegExp][] = [
    ['the key of another', { cert: pem.cert, key: other.key }, /not the key of the certificate/],
    ['no certificate', { cert: 'hello', key: other.key }, /certificate file has no "-----BEGIN CERTIFICATE-----"/],
    ['half a certificate', { cert: cut(pem.cert), key: other.key }, /certificate cannot be read/],
    ['files swapped', { cert: pem.key, key: pem.cert }, /certificate file has no/],
    ['no key', { cert: pem.cert, key: pem.cert }, /key file has no "-----BEGIN PRIVATE KEY-----"/],
    ['half a key', { cert: pem.cert, key: cut(other.key) }, /key cannot be read/],
    ['an encrypted key', { cert: pem.cert, key: '-----BEGIN ENCRYPTED PRIVATE KEY-----\n' }, /openssl pkey/],
    ['empty files', { cert: '', key: '' }, /PEM is needed/],
  ]
  for (const [sentence, given, message] of rows) {
    const error = await Promise.resolve()
      .then(() => loadCertificate(given))
      .then(
        () => undefined,
        (cause: Error) => cause,
      )
    t.match(error, { code: 'WTR_CERTIFICATE', message }, sentence)
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), secret)
  }
})

t.test('session tickets: one key per period, the same wherever the secret is known', async t => {
  const secret = Buffer.alloc(32, 7)
  const key = deriveTicketKeys(secret, 1)
  t.equal(key.length, 48)
  t.same(deriveTicketKeys(secret, TICKET_ROTATION_MS - 1), key)
  t.notSame(deriveTicketKeys(secret, TICKET_ROTATION_MS), key)
  t.notSame(deriveTicketKeys(Buffer.alloc(32, 8), 1), key)
})
