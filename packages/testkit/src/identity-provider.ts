import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What may be wrong with a token, beside its claims. */
export interface TokenWish {
  readonly claims?: Readonly<Record<string, unknown>>
  /** Over the usual header. */
  readonly header?: Readonly<Record<string, unknown>>
  /** Signed with this; default: the provider's newest. */
  readonly key?: SigningKey
}

export interface SigningKey {
  readonly id: string
  readonly algorithm: 'EdDSA' | 'ES256' | 'RS256'
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

/** A login that the provider was asked for. */
interface Grant {
  readonly clientId: string
  readonly redirectUri: string
  readonly nonce: string
  readonly codeChallenge: string
}

const FORM_BYTES_MAX = 16 * 1024

/**
 * A small identity provider: keys at `/keys`, a login page that lets everybody in as `user` at `/authorize`, tokens at
 * `/token`. Signs with `node:crypto`, not with the library that is tested.
 */
export class TestIdentityProvider implements AsyncDisposable {
  readonly issuer = 'https://login.example.com'
  user = 'alice@example.com'
  /** While it is set, every request is answered with this status. */
  failure: number | undefined
  /** What `/token` puts into its tokens beside the usual. */
  extraClaims: Readonly<Record<string, unknown>> = {}
  clientSecret: string | undefined
  keys: SigningKey[] = [createSigningKey('RS256')]
  keyFetches = 0
  tokenRequests: URLSearchParams[] = []
  readonly #grants = new Map<string, Grant>()
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch((error: Error) => response.writeHead(500).end(error.message))
  })

  static async start(): Promise<TestIdentityProvider> {
    const provider = new TestIdentityProvider()
    await new Promise<void>(resolve => provider.#server.listen(0, '127.0.0.1', resolve))
    return provider
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** A token for one hour. */
  token(audience: string, wish: TokenWish = {}): string {
    const key = wish.key ?? (this.keys.at(-1) as SigningKey)
    const nowSecs = Math.floor(Date.now() / 1_000)
    const header = { alg: key.algorithm, typ: 'JWT', kid: key.id, ...wish.header }
    const claims = {
      iss: this.issuer,
      aud: audience,
      sub: this.user,
      iat: nowSecs,
      exp: nowSecs + 3_600,
      ...wish.claims,
    }
    const text = `${encode(header)}.${encode(claims)}`
    const digest = key.algorithm === 'EdDSA' ? null : 'sha256'
    const options = { key: key.privateKey, dsaEncoding: 'ieee-p1363' } as const
    return `${text}.${sign(digest, Buffer.from(text), options).toString('base64url')}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url)
    if (this.failure !== undefined) response.writeHead(this.failure).end()
    else if (url.pathname === '/keys') this.#answerKeys(response)
    else if (url.pathname === '/authorize') this.#authorize(url.searchParams, response)
    else if (url.pathname === '/token') await this.#giveToken(request, response)
    else response.writeHead(404).end()
  }

  #answerKeys(response: ServerResponse): void {
    this.keyFetches += 1
    const keys = this.keys.map(({ id, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid: id, use: 'sig' }))
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }))
  }

  #authorize(query: URLSearchParams, response: ServerResponse): void {
    const isWellAsked =
      query.get('response_type') === 'code' &&
      query.get('code_challenge_method') === 'S256' &&
      (query.get('scope') ?? '').split(' ').includes('openid')
    if (!isWellAsked) {
      response.writeHead(400).end('not a request for a code with S256')
      return
    }
    const code = randomBytes(16).toString('hex')
    const redirectUri = query.get('redirect_uri') ?? ''
    this.#grants.set(code, {
      clientId: query.get('client_id') ?? '',
      redirectUri,
      nonce: query.get('nonce') ?? '',
      codeChallenge: query.get('code_challenge') ?? '',
    })
    const location = new URL(redirectUri)
    location.searchParams.set('code', code)
    location.searchParams.set('state', query.get('state') ?? '')
    response.writeHead(302, { location: location.href }).end()
  }

  async #giveToken(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = new URLSearchParams(await readForm(request))
    this.tokenRequests.push(form)
    const code = form.get('code') ?? ''
    const grant = this.#grants.get(code)
    // A code is good for one token.
    this.#grants.delete(code)
    const verifier = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    const isGood =
      grant !== undefined &&
      form.get('grant_type') === 'authorization_code' &&
      form.get('client_id') === grant.clientId &&
      form.get('redirect_uri') === grant.redirectUri &&
      verifier === grant.codeChallenge &&
      this.#knowsSecret(request, grant.clientId)
    const answer = isGood
      ? { id_token: this.token(grant.clientId, { claims: { nonce: grant.nonce, ...this.extraClaims } }) }
      : { error: 'invalid_grant' }
    response.writeHead(isGood ? 200 : 400, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }

  #knowsSecret({ headers }: IncomingMessage, clientId: string): boolean {
    if (this.clientSecret === undefined) return headers.authorization === undefined
    return headers.authorization === `Basic ${Buffer.from(`${clientId}:${this.clientSecret}`).toString('base64')}`
  }
}

let keysMade = 0

export function createSigningKey(algorithm: SigningKey['algorithm'], id = `key-${keysMade++}`): SigningKey {
  return { id, algorithm, ...pairFor(algorithm) }
}

function pairFor(algorithm: SigningKey['algorithm']): { publicKey: KeyObject; privateKey: KeyObject } {
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519')
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return generateKeyPairSync('rsa', { modulusLength: 2048 })
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

async function readForm(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length
    if (size > FORM_BYTES_MAX) throw new Error('the form is too long')
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}
