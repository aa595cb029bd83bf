import type { ServiceView } from '@waiter/control'
import { compilePattern, findParameter, type Pattern, type ServiceDescription } from '@waiter/services'
import { badRequest } from './contract/query.ts'

/** What has a meaning of its own in queries for services. */
const NOT_FILTERS: ReadonlySet<string> = new Set([
  'effective-parameters',
  'include',
  'star-mode',
  'streaming-timeout',
  'watch',
])

interface Filter {
  readonly name: string
  readonly wanted: readonly Wanted[]
}

interface Wanted {
  readonly text: string
  readonly isAnything: boolean
  readonly pattern: Pattern | undefined
}

/** Which services a query means: parameters by equality or pattern (dotted for nested ones), tokens, versions (spec §4.2). */
export interface AppFilters {
  /** Does the query say whose services, so that other people's are shown as well? */
  readonly namesUser: boolean
  /** @param description as the asker may see it */
  selects(service: Pick<ServiceView, 'definition'>, description: ServiceDescription, sources: Sources): boolean
}

type Sources = readonly { readonly token: string; readonly version: string }[]

/** @throws WaiterError WTR_BAD_REQUEST for names that are no parameter, and for an unknown star-mode */
export function parseAppFilters(query: ReadonlyMap<string, readonly string[]>): AppFilters {
  const starMode = query.get('star-mode')?.at(-1) ?? 'all'
  if (starMode !== 'all' && starMode !== 'literal') throw badRequest('star-mode must be all or literal')
  const filters = [...query]
    .filter(([name]) => !NOT_FILTERS.has(name))
    .map(([name, values]): Filter => {
      const [parameter = ''] = name.split('.', 1)
      if (!OWN_FILTERS.has(name) && findParameter(parameter) === undefined)
        throw badRequest(`Unsupported query parameter: ${name} is neither a service parameter nor token, token-version`)
      return { name, wanted: values.map(text => toWanted(text, starMode === 'all')) }
    })
  return {
    namesUser: query.has('run-as-user'),
    selects: (service, description, sources) =>
      filters.every(({ name, wanted }) => {
        const texts = textsOf(name, service, description, sources)
        return wanted.some(one => texts.some(text => isMatch(one, text)))
      }),
  }
}

const OWN_FILTERS: ReadonlySet<string> = new Set(['service-id', 'token', 'token-version'])

function toWanted(text: string, isStarAnything: boolean): Wanted {
  if (text === '*') return { text, isAnything: isStarAnything, pattern: undefined }
  const pattern = compilePattern(text)
  return { text, isAnything: false, pattern: pattern.ok ? pattern.value : undefined }
}

function isMatch(wanted: Wanted, text: string): boolean {
  if (wanted.isAnything) return text !== ''
  return wanted.text === text || (wanted.pattern?.matches(text) ?? false)
}

function textsOf(
  name: string,
  { definition }: Pick<ServiceView, 'definition'>,
  description: ServiceDescription,
  sources: Sources,
): readonly string[] {
  switch (name) {
    case 'service-id':
      return [definition.id]
    case 'token':
      return sources.map(source => source.token)
    case 'token-version':
      return sources.map(source => source.version)
    default:
      return readPath(description, name)
  }
}

/** The value at a dotted path as text; none when there is no value. Names of variables may contain dots. */
function readPath(value: unknown, path: string): readonly string[] {
  let current: unknown = value
  for (let rest = path; ; ) {
    if (typeof current !== 'object' || current === null) return []
    if (Object.hasOwn(current, rest)) {
      current = (current as Record<string, unknown>)[rest]
      break
    }
    const dot = rest.indexOf('.')
    const key = dot < 0 ? rest : rest.slice(0, dot)
    if (dot < 0 || !Object.hasOwn(current, key)) return []
    current = (current as Record<string, unknown>)[key]
    rest = rest.slice(dot + 1)
  }
  if (current === undefined || current === null) return []
  return [typeof current === 'object' ? JSON.stringify(current) : String(current)]
}
