import { stat } from 'node:fs/promises'
import { type Logger, WaiterError } from '@waiter/base'
import { type Certificate, type Certificates, loadCertificate, type TlsVersion } from '@waiter/proxy'
import { readPem } from './read-pem.ts'

/** From then on people are told that a certificate ends. */
const EXPIRY_NOTICE_MS = 7 * 24 * 3_600_000

/** Where a certificate is kept. */
export interface CertificateSource {
  readonly cert: string
  readonly key: string
  readonly names?: readonly string[] | undefined
}

export interface CertificateFilesOptions {
  readonly sources: readonly CertificateSource[]
  readonly minVersion: TlsVersion
  readonly checkIntervalMs: number
  /** Some certificate was replaced. */
  readonly onChange: (certificates: Certificates) => void
  readonly log: Logger
}

interface Entry {
  readonly source: CertificateSource
  certificate: Certificate
  loadedAtMs: number
  /** Of the files that were tried last. */
  triedStamp: string
  /** Of the files at the last look. */
  seenStamp: string
  /** Why the files as they are now are not in use. */
  problem: string | null
}

/**
 * The certificates in their files: read at the start, and again whenever the files change, without a restart or a signal.
 * A file is looked at until it has stayed the same for one interval, since whoever renews a certificate writes two of
 * them. If what is there then cannot be used, the certificate before stays, and that is said in the log, in `/status`
 * and in `/state/tls`.
 */
export class CertificateFiles {
  readonly #options: CertificateFilesOptions
  readonly #entries: Entry[]
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  private constructor(options: CertificateFilesOptions, entries: Entry[]) {
    this.#options = options
    this.#entries = entries
  }

  /** @throws WaiterError WTR_CERTIFICATE naming the configuration key, the file and what is wrong with it */
  static async open(options: CertificateFilesOptions): Promise<CertificateFiles> {
    const entries: Entry[] = []
    for (const [index, source] of options.sources.entries()) {
      try {
        const triedStamp = await stampOf(source)
        const certificate = await load(source, options.minVersion)
        entries.push({
          source,
          certificate,
          loadedAtMs: Date.now(),
          triedStamp,
          seenStamp: triedStamp,
          problem: null,
        })
      } catch (error) {
        throw new WaiterError(`server-options.certificates.${index}: ${(error as Error).message}`, {
          code: 'WTR_CERTIFICATE',
          cause: error,
        })
      }
    }
    const files = new CertificateFiles(options, entries)
    files.#schedule()
    return files
  }

  get certificates(): Certificates {
    const [first, ...others] = this.#entries.map(({ certificate }) => certificate)
    if (first === undefined) throw new WaiterError('server-options.certificates is empty', { code: 'WTR_CERTIFICATE' })
    return [first, ...others]
  }

  /** What somebody should see to. */
  warnings(): readonly string[] {
    const nowMs = Date.now()
    return this.#entries.flatMap(({ source, certificate, problem }) => {
      const days = Math.floor((certificate.validToMs - nowMs) / 86_400_000)
      const ending = days < 0 ? 'has ended' : `ends in ${days} days`
      return [
        ...(problem === null ? [] : [`${problem}; the certificate before is still in use`]),
        ...(certificate.validToMs < nowMs + EXPIRY_NOTICE_MS ? [`the certificate in ${source.cert} ${ending}`] : []),
      ]
    })
  }

  /** For `/state/tls`. */
  state(): unknown {
    return {
      certificates: this.#entries.map(({ source, certificate, loadedAtMs, problem }) => ({
        cert: source.cert,
        names: certificate.names,
        'fingerprint-sha256': certificate.fingerprint,
        'valid-from': new Date(certificate.validFromMs).toISOString(),
        'valid-to': new Date(certificate.validToMs).toISOString(),
        'loaded-at': new Date(loadedAtMs).toISOString(),
        problem,
      })),
    }
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  #schedule(): void {
    if (this.#isStopped) return
    this.#timer = setTimeout(() => {
      // Owns its failures: nothing in it is left unhandled.
      void this.#check().finally(() => this.#schedule())
    }, this.#options.checkIntervalMs)
    this.#timer.unref()
  }

  async #check(): Promise<void> {
    const changes = await Promise.all(this.#entries.map(entry => this.#checkOne(entry)))
    if (changes.includes(true) && !this.#isStopped) this.#options.onChange(this.certificates)
  }

  /** @returns true when it has another certificate now */
  async #checkOne(entry: Entry): Promise<boolean> {
    const { log, minVersion } = this.#options
    const { source } = entry
    const stamp = await stampOf(source)
    const isSettled = stamp === entry.seenStamp
    entry.seenStamp = stamp
    if (stamp === entry.triedStamp || !isSettled) return false
    entry.triedStamp = stamp
    try {
      entry.certificate = await load(source, minVersion)
    } catch (error) {
      entry.problem = (error as Error).message
      log.warn({ problem: entry.problem }, 'a changed certificate cannot be used; the one before stays')
      return false
    }
    entry.problem = null
    entry.loadedAtMs = Date.now()
    const { names, fingerprint, validToMs } = entry.certificate
    log.info({ cert: source.cert, names, fingerprint, validTo: new Date(validToMs) }, 'took a changed certificate on')
    return true
  }
}

/** Differs whenever the files do; also when they are links to others now. */
async function stampOf({ cert, key }: CertificateSource): Promise<string> {
  const stamps = await Promise.all(
    [cert, key].map(async file => {
      try {
        const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
        return `${ino} ${size} ${mtimeNs} ${ctimeNs}`
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code)
      }
    }),
  )
  return stamps.join(' | ')
}

async function load({ cert, key, names }: CertificateSource, minVersion: TlsVersion): Promise<Certificate> {
  const pem = { cert: await readPem(cert), key: await readPem(key), names }
  try {
    return loadCertificate(pem, minVersion)
  } catch (error) {
    throw new WaiterError(`${cert}, ${key}: ${(error as Error).message}`, { code: 'WTR_CERTIFICATE' })
  }
}
