import { readFileSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml'
import { applyOverrides, nameOfOverride, type Override, readOverrides } from './environment.ts'
import { type Settings, settingsSchema } from './schema.ts'
import { findServicesProblem } from './services-config.ts'

/** A configuration is written by people; a larger file is a mistake. */
const CONFIG_BYTES_MAX = 1024 * 1024

/** Where each key was written. */
interface Source {
  /** What the file says, as plain data. */
  readonly plain: unknown
  readonly overrides: readonly Override[]
  /** `waiter.yaml:7` */
  placeOf(key: readonly (string | number)[]): string
}

/**
 * Reads and checks the configuration: defaults, then the YAML file, then environment variables,
 * then what the command line sets.
 *
 * @throws WaiterError WTR_CONFIG naming file and line or the variable, the key, and what would be right
 */
export function loadSettings(
  file: string | undefined,
  environment: Readonly<Record<string, string | undefined>> = {},
  options: readonly Override[] = [],
): Settings {
  const overrides = mergeOverrides(readOverrides(environment), options)
  const source = file === undefined ? noFile(overrides) : readSource(file, overrides)
  const result = settingsSchema.safeParse(applyOverrides(source.plain, overrides))
  if (result.success) {
    const problem = findServicesProblem(result.data)
    if (problem === undefined) return result.data
    throw configError(source, problem.key, problem.message)
  }
  const issue = result.error.issues[0]
  if (issue === undefined) throw configError(source, [], 'not a configuration')
  const path = issue.path.map(part => (typeof part === 'symbol' ? String(part) : part))
  const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const key = [...path, ...(unknownKey === undefined ? [] : [unknownKey])]
  const problem = unknownKey === undefined ? issue.message : 'no such key: misspelt, or not supported'
  throw configError(source, key, problem)
}

/** The command line counts more. */
function mergeOverrides(environment: readonly Override[], options: readonly Override[]): readonly Override[] {
  const taken = new Set(options.map(({ path }) => path.join('.')))
  return [...environment.filter(({ path }) => !taken.has(path.join('.'))), ...options]
}

function noFile(overrides: readonly Override[]): Source {
  return { plain: {}, overrides, placeOf: () => 'the configuration' }
}

function readSource(file: string, overrides: readonly Override[]): Source {
  const lines = new LineCounter()
  const document = parseDocument(readConfig(file), { lineCounter: lines, uniqueKeys: true })
  const syntaxError = document.errors[0]
  if (syntaxError !== undefined) {
    const line = syntaxError.linePos?.[0].line ?? 1
    const message = syntaxError.message.split('\n')[0] ?? 'not YAML'
    throw new WaiterError(`${file}:${line}: ${message}`, { code: 'WTR_CONFIG' })
  }
  return {
    plain: toPlain(file, document),
    overrides,
    placeOf: key => `${file}:${lineOf(document, lines, key)}`,
  }
}

/** @throws WaiterError when aliases lead nowhere, or to more than anybody would write */
function toPlain(file: string, document: Document): unknown {
  try {
    return document.toJS() ?? {}
  } catch (error) {
    throw new WaiterError(`${file}:1: ${(error as Error).message}`, { code: 'WTR_CONFIG' })
  }
}

function readConfig(file: string): string {
  try {
    const text = readFileSync(file, 'utf8')
    if (text.length > CONFIG_BYTES_MAX) throw new Error(`larger than ${CONFIG_BYTES_MAX} bytes`)
    return text
  } catch (error) {
    throw new WaiterError(`cannot read the configuration ${file}: ${(error as Error).message}`, {
      code: 'WTR_CONFIG',
      cause: error,
    })
  }
}

/** The line of a key, or of the nearest parent that exists. */
function lineOf(document: Document, lines: LineCounter, key: readonly (string | number)[]): number {
  for (let length = key.length; length > 0; length--) {
    const node = nodeOf(document, key.slice(0, length))
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line
  }
  return 1
}

/** The key itself, whose line is the one to look at: its value may begin further down. In a list, the value. */
function nodeOf(document: Document, path: readonly (string | number)[]): unknown {
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true)
  if (!isMap(parent)) return document.getIn(path, true)
  return parent.items.map(pair => pair.key).find(key => isScalar(key) && String(key.value) === String(path.at(-1)))
}

/** A variable's name is the place of what it set; everything else is in the file. */
function configError({ overrides, placeOf }: Source, key: readonly (string | number)[], problem: string): WaiterError {
  const override = overrides.find(({ path }) => path.every((part, index) => String(key[index]) === part))
  const place = override === undefined ? placeOf(key) : nameOfOverride(override.variable)
  return new WaiterError(`${place}: ${key.join('.') || 'the document'}: ${problem}`, { code: 'WTR_CONFIG' })
}
