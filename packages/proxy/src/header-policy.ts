/** What the owner wants removed or changed in every message; compiled once per server. */
export interface HeaderPolicy {
  /** Lower-case request field names removed before forwarding. Hop-by-hop fields always are. */
  readonly dropRequest: { readonly names: readonly string[]; readonly prefixes: readonly string[] }
  /** By lower-case name: the new value, or null to remove the field. Called only when the field is there. */
  readonly rewriteRequest?: Readonly<Record<string, (value: string) => string | null>>
  /** Lower-case response field names removed. */
  readonly dropResponse?: { readonly names: readonly string[]; readonly prefixes: readonly string[] }
  /** A `set-cookie` of a backend whose value begins so (case-sensitive) is removed: nobody forges our cookies. */
  readonly dropResponseCookiePrefixes?: readonly string[]
}
