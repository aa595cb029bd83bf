import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** PEM texts of a certificate that is its own authority. */
export interface TestCertificate {
  readonly cert: string
  readonly key: string
}

/** What is to stand in it. */
export interface CertificateWish {
  /** DNS names, or addresses. */
  readonly names: readonly string[]
  /** Days from now until it ends; 2 by default, negative for one that has ended. */
  readonly days?: number
}

const run = promisify(execFile)

/** A self-signed certificate and its key, from the `openssl` command. */
export async function makeCertificate({ names, days = 2 }: CertificateWish): Promise<TestCertificate> {
  const alternatives = names.map(name => (/^[\d.:]+$/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(',')
  const { stdout } = await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '-'],
    ...['-days', String(days), '-subj', `/CN=${names[0] ?? 'test'}`, '-addext', `subjectAltName=${alternatives}`],
  ])
  return { key: block(stdout, 'PRIVATE KEY'), cert: block(stdout, 'CERTIFICATE') }
}

function block(pem: string, label: string): string {
  const found = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n`).exec(pem)
  if (found === null) throw new Error(`openssl printed no ${label}`)
  return found[0]
}
