import {
  createServicesConfig,
  createSimpleEntitlements,
  type Descriptor,
  type DescriptorError,
  decideTokenPost,
  type ResolveInput,
  resolveDescriptor,
  type ServiceDescription,
  type ServicesConfig,
  splitWaiterHeaders,
  type TokenError,
  type TokenPostDecision,
  type TokenPostInput,
  type TokenRecord,
} from '@waiter/services'

export const config: ServicesConfig = createServicesConfig({ waiterHostnames: ['waiter.example.com', 'localhost'] })

export const complete = {
  cmd: 'serve --port $PORT0',
  cpus: 0.5,
  mem: 256,
  'run-as-user': 'alice',
  version: 'v1',
} satisfies ServiceDescription

export function record(fields: Partial<TokenRecord> = {}): TokenRecord {
  return {
    cluster: 'waiter',
    'last-update-time': 1_700_000_000_000,
    'last-update-user': 'alice',
    owner: 'alice',
    root: 'waiter',
    ...fields,
  }
}

export interface Request extends Partial<ResolveInput> {
  readonly tokens?: Readonly<Record<string, TokenRecord>>
  /** Full header names. */
  readonly with?: Readonly<Record<string, string>>
}

export function resolve(request: Request): ReturnType<typeof resolveDescriptor> {
  const tokens = new Map(Object.entries(request.tokens ?? {}))
  return resolveDescriptor({
    headers: splitWaiterHeaders(Object.entries(request.with ?? {}).flat()).waiter,
    host: 'waiter.example.com',
    findToken: name => tokens.get(name),
    requester: 'rita',
    isOneUser: false,
    config,
    ...request,
  })
}

export function resolved(request: Request): Descriptor {
  const result = resolve(request)
  if (!result.ok) throw new Error(`refused: ${result.error.message}`)
  return result.value
}

export function refused(request: Request): DescriptorError {
  const result = resolve(request)
  if (result.ok) throw new Error('it was not refused')
  return result.error
}

export const root = 'root'

export function post(input: Partial<TokenPostInput>): ReturnType<typeof decideTokenPost> {
  return decideTokenPost({
    token: 'my-token',
    existing: undefined,
    body: complete,
    requester: 'alice',
    nowMs: 1_800_000_000_000,
    countLiveTokens: () => 0,
    entitlements: createSimpleEntitlements([root]),
    config,
    ...input,
  })
}

export function posted(input: Partial<TokenPostInput>): TokenPostDecision {
  const result = post(input)
  if (!result.ok) throw new Error(`refused: ${result.error.status} ${result.error.message}`)
  return result.value
}

export function postRefused(input: Partial<TokenPostInput>): TokenError {
  const result = post(input)
  if (result.ok) throw new Error('it was not refused')
  return result.error
}
