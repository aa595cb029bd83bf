import type { KitchenOptions } from './options.ts'

/** PEM texts for a TLS server. */
export interface Certificate {
  readonly cert: string | Buffer
  readonly key: string | Buffer
  readonly passphrase?: string
}

/**
 * Loads or makes the certificate that the flags ask for; undefined without TLS.
 *
 * @throws {Error} when CERT_PATH or KEY_PATH is missing or unreadable, or `openssl` does not run
 */
export async function loadCertificate(options: KitchenOptions): Promise<Certificate | undefined> {
  if (options.sslSelfSigned) return makeSelfSignedCertificate()
  if (!options.ssl) return undefined
  const { CERT_PATH, KEY_PATH, KEY_PASSWORD } = process.env
  if (!CERT_PATH || !KEY_PATH) throw new Error('kitchen: --ssl needs CERT_PATH and KEY_PATH in the environment')
  const { readFile } = process.getBuiltinModule('node:fs/promises')
  const [cert, key] = await Promise.all([readFile(CERT_PATH), readFile(KEY_PATH)])
  return KEY_PASSWORD === undefined ? { cert, key } : { cert, key, passphrase: KEY_PASSWORD }
}

const SELF_SIGNED_ARGUMENTS =
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost ' +
  '-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout - -out -'

/** A certificate for localhost and 127.0.0.1, good for two days, from the `openssl` command. */
export async function makeSelfSignedCertificate(): Promise<Certificate> {
  const { execFile } = process.getBuiltinModule('node:child_process')
  const pem = await new Promise<string>((resolve, reject) => {
    execFile('openssl', SELF_SIGNED_ARGUMENTS.split(' '), (error, stdout) => {
      if (error) reject(new Error(`kitchen: --ssl-self-signed could not run openssl: ${error.message}`))
      else resolve(stdout)
    })
  })
  return { key: pemBlock(pem, 'PRIVATE KEY'), cert: pemBlock(pem, 'CERTIFICATE') }
}

function pemBlock(pem: string, label: string): string {
  const found = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n`).exec(pem)
  if (found === null) throw new Error(`kitchen: openssl printed no ${label}`)
  return found[0]
}
