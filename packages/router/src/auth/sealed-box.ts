import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

const VERSION = 'v1'
const ALGORITHM = 'aes-256-gcm'
const KEY_BYTES = 32
const KEY_ID_BYTES = 6
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Seals small values so that clients can keep, but neither read nor change them. */
export interface SealedBox {
  /** @param context bound to the value: opened only with the same (whose it is, for example) */
  seal(value: unknown, context?: string): string
  /** Undefined for anything that was not sealed by this cluster, for this purpose, in this context. */
  open(sealed: string, context?: string): unknown
}

export interface SealedBoxOptions {
  /** Secrets of the cluster: the first seals, all open, so that they can be exchanged one after the other. */
  readonly secrets: readonly string[]
  /** Values of another cluster do not open, even if it shares a secret. */
  readonly clusterName: string
  /** Values of another purpose do not open: a consent is no login. */
  readonly purpose: string
  /** Longest text that is looked at. */
  readonly charsMax: number
}

/**
 * AES-256-GCM under keys derived (HKDF) from the cluster's secrets: `v1.<key id>.<nonce, ciphertext and tag>`. The key
 * id is derived, too, and tells nothing about the key.
 */
export function createSealedBox(options: SealedBoxOptions): SealedBox {
  const keys = options.secrets.map(secret => deriveKey(secret, options))
  const [newest] = keys
  if (newest === undefined) throw new RangeError('a sealed box needs a secret')
  const byId = new Map(keys.map(key => [key.id, key]))
  return {
    seal: (value, context = '') => {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(ALGORITHM, newest.bytes, nonce, { authTagLength: TAG_BYTES })
      cipher.setAAD(Buffer.from(context))
      const text = Buffer.concat([nonce, cipher.update(JSON.stringify(value)), cipher.final(), cipher.getAuthTag()])
      return `${VERSION}.${newest.id}.${text.toString('base64url')}`
    },
    open: (sealed, context = '') => {
      if (sealed.length > options.charsMax) return undefined
      const [version, id, text, ...rest] = sealed.split('.')
      const key = byId.get(id ?? '')
      if (version !== VERSION || key === undefined || text === undefined || rest.length > 0) return undefined
      return open(key.bytes, Buffer.from(text, 'base64url'), context)
    },
  }
}

function open(key: Buffer, bytes: Buffer, context: string): unknown {
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined
  const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.from(context))
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
  try {
    const text = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
    return JSON.parse(text.toString('utf8'))
  } catch {
    // Changed, cut, or sealed under another key or context: not ours.
    return undefined
  }
}

function deriveKey(secret: string, { clusterName, purpose }: SealedBoxOptions): { id: string; bytes: Buffer } {
  const derive = (label: string, bytes: number): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, clusterName, `sealed box v1 ${label} ${purpose}`, bytes))
  return { id: derive('key id', KEY_ID_BYTES).toString('base64url'), bytes: derive('key', KEY_BYTES) }
}
