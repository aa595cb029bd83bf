import type { HeaderPolicy } from '../header-policy.ts'
import { FieldCode, FieldTable } from './field-table.ts'

/** A header policy in the form the wire code reads: two name tables and the rewriters they point to. */
export interface CompiledPolicy {
  readonly requestTable: FieldTable
  readonly responseTable: FieldTable
  readonly rewriters: readonly ((value: string) => string | null)[]
  readonly cookiePrefixes: readonly string[]
}

/** Rewriter indices share a byte with the codes below `REWRITE`. */
const REWRITERS_MAX = 128

const FRAMING: readonly (readonly [string, number])[] = [
  ['host', FieldCode.HOST],
  ['content-length', FieldCode.CONTENT_LENGTH],
  ['transfer-encoding', FieldCode.TRANSFER_ENCODING],
  ['connection', FieldCode.CONNECTION],
  ['upgrade', FieldCode.UPGRADE],
]
const HOP_BY_HOP = ['keep-alive', 'proxy-connection', 'http2-settings']
const REQUEST_HOP_BY_HOP = [...HOP_BY_HOP, 'te', 'trailer', 'trailers', 'proxy-authenticate', 'proxy-authorization']

/** Compiles once per server. Fields that frame the message cannot be overruled by a policy. */
export function compilePolicy(policy: HeaderPolicy): CompiledPolicy {
  const rewriters = Object.entries(policy.rewriteRequest ?? {})
  if (rewriters.length > REWRITERS_MAX) throw new RangeError(`more than ${REWRITERS_MAX} header rewriters`)
  const dropped = policy.dropRequest.names.map(name => name.toLowerCase())
  const expectCode = dropped.includes('expect') ? FieldCode.EXPECT_DROP : FieldCode.EXPECT
  const drop = (names: readonly string[]): (readonly [string, number])[] => names.map(name => [name, FieldCode.DROP])
  return {
    requestTable: new FieldTable(
      [
        ...FRAMING,
        ['expect', expectCode],
        ...drop(dropped),
        ...rewriters.map(([name], index) => [name, FieldCode.REWRITE + index] as const),
        ...drop(REQUEST_HOP_BY_HOP),
      ],
      drop(policy.dropRequest.prefixes),
    ),
    responseTable: new FieldTable(
      [
        ...FRAMING.slice(1),
        ...drop(policy.dropResponse?.names ?? []),
        ['set-cookie', FieldCode.SET_COOKIE],
        ...drop(HOP_BY_HOP),
      ],
      drop(policy.dropResponse?.prefixes ?? []),
    ),
    rewriters: rewriters.map(([, rewrite]) => rewrite),
    cookiePrefixes: policy.dropResponseCookiePrefixes ?? [],
  }
}
