import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import {
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type SecureVersion,
  type Server,
} from 'node:tls'
import { WaiterError } from '@waiter/base'
import { normalizeServerName } from './sni-table.ts'

/** A certificate as it is kept in files. */
export interface CertificatePem {
  /** The certificate, then those that lead to its authority. */
  readonly cert: string
  /** Its private key, not encrypted. */
  readonly key: string
  /** The host names that it is used for; the ones that it is made out for when absent. */
  readonly names?: readonly string[] | undefined
}

/** A certificate ready for use. What prints it, whatever way, sees nothing of the key. */
export class Certificate {
  readonly names: readonly string[]
  /** Epoch milliseconds. */
  readonly validFromMs: number
  readonly validToMs: number
  /** SHA-256 of the certificate, which is public. */
  readonly fingerprint: string
  readonly #context: SecureContext
  readonly #secrets: SecureContextOptions

  /** Use `loadCertificate`. */
  constructor(leaf: X509Certificate, names: readonly string[], secrets: SecureContextOptions) {
    this.names = names
    this.validFromMs = Date.parse(leaf.validFrom)
    this.validToMs = Date.parse(leaf.validTo)
    this.fingerprint = leaf.fingerprint256
    this.#secrets = secrets
    this.#context = createSecureContext(secrets)
  }

  get context(): SecureContext {
    return this.#context
  }

  /** Makes it the one of clients that name nobody, which Node keeps elsewhere. */
  makeFallbackOf(server: Server, ticketKeys: Buffer): void {
    // Sessions of one process must count in all.
    server.setSecureContext({ ...this.#secrets, ticketKeys, sessionIdContext: 'waiter' })
  }
}

/** Oldest version of TLS that is spoken. */
export type TlsVersion = Extract<SecureVersion, 'TLSv1.2' | 'TLSv1.3'>

/**
 * Checks a certificate and its key, and makes them ready.
 *
 * @throws WaiterError WTR_CERTIFICATE what is wrong with them and how to mend it; never with a part of the key
 */
export function loadCertificate(pem: CertificatePem, minVersion: TlsVersion = 'TLSv1.2'): Certificate {
  const leaf = parseCertificate(pem.cert)
  const key = parseKey(pem.key)
  if (!leaf.checkPrivateKey(key))
    throw broken('the key is not the key of the certificate: both files must be of the same issue')
  try {
    return new Certificate(leaf, pem.names ?? namesOf(leaf), {
      cert: pem.cert,
      key: pem.key,
      minVersion,
      honorCipherOrder: true,
      // A client that asks for new keys again and again costs us more than itself.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    })
  } catch (error) {
    // OpenSSL's reasons ("ee key too small", "ca md too weak") name no secret.
    const reason = error instanceof Error && 'reason' in error ? String(error.reason) : 'refused by OpenSSL'
    throw broken(`certificate and key cannot be used: ${reason}`)
  }
}

function parseCertificate(text: string): X509Certificate {
  if (!text.includes('-----BEGIN CERTIFICATE-----'))
    throw broken('the certificate file has no "-----BEGIN CERTIFICATE-----": PEM is needed')
  try {
    return new X509Certificate(text)
  } catch {
    throw broken('the certificate cannot be read: the file is damaged or cut short')
  }
}

function parseKey(text: string): KeyObject {
  if (/ENCRYPTED/.test(text))
    throw broken('the key is encrypted: write it without a password (openssl pkey -in key.pem -out plain.pem)')
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text))
    throw broken('the key file has no "-----BEGIN PRIVATE KEY-----": PEM is needed')
  try {
    return createPrivateKey(text)
  } catch {
    throw broken('the key cannot be read: the file is damaged or cut short')
  }
}

/** Its DNS names. Other kinds, and names of forms that are never asked for, are left out. */
function namesOf(certificate: X509Certificate): string[] {
  const names: string[] = []
  for (const [, name = ''] of (certificate.subjectAltName ?? '').matchAll(/DNS:([^,\s"]+)/g)) {
    const normal = normalizeServerName(name)
    if (normal !== undefined) names.push(normal)
  }
  return names
}

function broken(message: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_CERTIFICATE' })
}
