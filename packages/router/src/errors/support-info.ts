/** What a link may be filled with. */
export const SUPPORT_FIELDS = [
  'cid',
  'host',
  'instance-id',
  'message',
  'principal',
  'request-method',
  'service-id',
  'service-owner',
  'status',
  'timestamp',
  'title',
  'uri',
  'waiter-token',
] as const

export type SupportField = (typeof SUPPORT_FIELDS)[number]

/** A link on the error page's foot, as configured. */
export interface SupportInfo {
  readonly label: string
  readonly link: { readonly type: string; readonly value: string }
  /** `{name}` in the link is what the error says under this field. */
  readonly variables?: Readonly<Record<string, SupportField>> | undefined
  /** For errors of these classes only. */
  readonly 'error-classes'?: readonly string[] | undefined
}

/** The link as it is shown. */
export interface SupportLink {
  readonly label: string
  readonly link: { readonly type: string; readonly value: string }
}

/**
 * The links for one error, filled in: what is not known leaves nothing, what is known is percent-encoded, so that no
 * value of a request can lead elsewhere.
 */
export function supportLinksFor(
  entries: readonly SupportInfo[],
  errorClass: string | undefined,
  fields: Readonly<Partial<Record<SupportField, string | number | null | undefined>>>,
): readonly SupportLink[] {
  return entries
    .filter(entry => entry['error-classes'] === undefined || entry['error-classes'].includes(errorClass ?? ''))
    .map(({ label, link, variables = {} }) => ({
      label,
      link: { ...link, value: fill(link.value, variables, fields) },
    }))
}

function fill(
  template: string,
  variables: Readonly<Record<string, SupportField>>,
  fields: Readonly<Partial<Record<SupportField, string | number | null | undefined>>>,
): string {
  return template.replaceAll(/\{([\w-]{1,64})\}/g, (written, name: string) => {
    const field = Object.hasOwn(variables, name) ? variables[name] : undefined
    if (field === undefined) return written
    return encodeURIComponent(String(fields[field] ?? '').toWellFormed())
  })
}
