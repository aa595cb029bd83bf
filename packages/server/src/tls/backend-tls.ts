import { X509Certificate } from 'node:crypto'
import { WaiterError } from '@waiter/base'
import { loadCertificate, type UpstreamTls } from '@waiter/proxy'
import { readPem } from './read-pem.ts'

/** How routers speak TLS with instances whose `backend-proto` is `https` or `h2`. */
export interface BackendTlsSettings {
  readonly verify: boolean
  readonly ca?: string | undefined
  readonly 'server-name'?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

/**
 * Reads the files; once, at the start.
 *
 * @throws WaiterError WTR_CERTIFICATE naming the file and what is wrong with it
 */
export async function loadBackendTls(settings: BackendTlsSettings): Promise<UpstreamTls> {
  const { verify, ca, cert, key } = settings
  const servername = settings['server-name']
  return {
    verify,
    ...(servername === undefined ? {} : { servername }),
    ...(ca === undefined ? {} : { ca: await readAuthorities(ca) }),
    ...(cert === undefined || key === undefined ? {} : await readPair(cert, key)),
  }
}

async function readPair(cert: string, key: string): Promise<{ cert: string; key: string }> {
  const pem = { cert: await readPem(cert), key: await readPem(key) }
  try {
    loadCertificate(pem)
  } catch (error) {
    throw broken(`${cert}, ${key}: ${(error as Error).message}`)
  }
  return pem
}

async function readAuthorities(file: string): Promise<string> {
  const text = await readPem(file)
  try {
    new X509Certificate(text)
  } catch {
    throw broken(`${file}: no certificate in PEM`)
  }
  return text
}

function broken(message: string): WaiterError {
  return new WaiterError(`server-options.backend-tls: ${message}`, { code: 'WTR_CERTIFICATE' })
}
