import { cliError } from '../errors.ts'
import type { Io } from '../io.ts'
import { isMap, type JsonObject, type JsonValue } from './json-document.ts'
import { nameOf, readText } from './read-text.ts'

export type DocumentFormat = 'json' | 'yaml'

/** More aliases than anybody writes by hand. */
const ALIASES_MAX = 100

/**
 * One map out of a file.
 *
 * @throws WaiterError naming the file, without repeating it
 */
export async function readDocument(io: Io, file: string, format: DocumentFormat): Promise<JsonObject> {
  const text = await readText(io, file)
  const value = format === 'json' ? parseJson(file, text) : await parseYaml(file, text)
  if (isMap(value)) return value
  throw cliError('document', `${nameOf(file)}: it is not a map of parameters`)
}

function parseJson(file: string, text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    throw cliError('document', `${nameOf(file)}: not valid JSON (--yaml reads YAML)`)
  }
}

async function parseYaml(file: string, text: string): Promise<JsonValue> {
  const { LineCounter, parseDocument } = await import('yaml')
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const [problem] = document.errors
  if (problem !== undefined)
    throw cliError('document', `${nameOf(file)}:${lines.linePos(problem.pos[0]).line}: ${problem.message}`)
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX }) as JsonValue
  } catch (error) {
    throw cliError('document', `${nameOf(file)}: ${(error as Error).message}`)
  }
}

/**
 * Puts values of a context into texts: `$name`, `${name}`; `$$` is a dollar sign.
 *
 * @throws WaiterError for a variable that the context does not have
 */
export function fillIn(value: JsonValue, context: JsonObject): JsonValue {
  if (typeof value === 'string') return fillInText(value, context)
  if (Array.isArray(value)) return value.map(item => fillIn(item, context))
  if (!isMap(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillIn(item, context)]))
}

const VARIABLE = /\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})/g

function fillInText(text: string, context: JsonObject): string {
  return text.replaceAll(VARIABLE, (_, dollar?: string, plain?: string, braced?: string) => {
    if (dollar !== undefined) return '$'
    const name = plain ?? braced ?? ''
    const value = Object.hasOwn(context, name) ? context[name] : undefined
    if (value === undefined || typeof value === 'object')
      throw cliError('document', `the context has no value for $${name} ($$ is a dollar sign)`)
    return String(value)
  })
}
