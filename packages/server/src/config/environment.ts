import { readFileSync, statSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import { parse } from 'yaml'
import { SETTINGS_SHAPE, type SettingShape, shapeOfKey } from './settings-shape.ts'

const PREFIX = 'WAITER_'
const FILE_SUFFIX = '_FILE'
/** A secret or a list is small. */
const VALUE_FILE_BYTES_MAX = 64 * 1024

/** What Waiter gives its instances: a Waiter may be an instance of another. */
const OF_INSTANCES = new Set(
  'CLUSTER CONCURRENCY_LEVEL CONFIG_TOKEN CPUS MEM_MB METRIC_GROUP PASSWORD SANDBOX SERVICE_ID TOKEN USERNAME'.split(
    ' ',
  ),
)
/** What Kubernetes puts into every container for services that are called `waiter` or `waiter-…`. */
const OF_KUBERNETES = /(?:^|_)(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/
const KUBERNETES_VALUE = /^(?:tcp|udp|sctp):\/\//

/** One key of the configuration that an environment variable or an option of the command line sets. */
export interface Override {
  /** Its name; an option's begins with `--`. */
  readonly variable: string
  readonly path: readonly string[]
  readonly value: unknown
}

/**
 * Configuration by environment variables: `WAITER_` and the key's path in capitals, `_` for `-` and `__` between levels
 * (`WAITER_SCALING__DECISION_FLOOR_MS`), without question marks. Values are taken as they are where the key takes text, else read as YAML. The
 * same name with `_FILE` behind names a file that holds the value.
 *
 * @throws WaiterError WTR_CONFIG for a variable that no key has: it would be silently without effect
 */
export function readOverrides(environment: Readonly<Record<string, string | undefined>>): readonly Override[] {
  const overrides = new Map<string, Override>()
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith(PREFIX) || text === undefined || isForeign(variable, text)) continue
    const override = readOverride(variable, text)
    const key = override.path.join('.')
    const other = overrides.get(key)
    if (other !== undefined) throw problem(variable, `${other.variable} sets ${key} already: remove one of them`)
    overrides.set(key, override)
  }
  return [...overrides.values()]
}

/** Puts the overrides into what was read from the file. */
export function applyOverrides(document: unknown, overrides: readonly Override[]): unknown {
  for (const { variable, path, value } of overrides) {
    let map = document
    for (const [index, key] of path.entries()) {
      if (typeof map !== 'object' || map === null || Array.isArray(map))
        throw problem(variable, `the configuration file has no map at ${path.slice(0, index).join('.') || 'its top'}`)
      const keys = map as Record<string, unknown>
      if (index === path.length - 1) keys[key] = value
      else map = keys[key] ??= {}
    }
  }
  return document
}

/** How people call it. */
export function nameOfOverride(variable: string): string {
  return variable.startsWith('--') ? `option ${variable}` : `environment variable ${variable}`
}

function isForeign(variable: string, text: string): boolean {
  return (
    OF_INSTANCES.has(variable.slice(PREFIX.length)) ||
    OF_KUBERNETES.test(variable.slice(PREFIX.length)) ||
    KUBERNETES_VALUE.test(text)
  )
}

function readOverride(variable: string, text: string): Override {
  const exact = findKey(variable)
  if (exact !== undefined) return { variable, path: exact.path, value: toValue(variable, exact.shape, text) }
  const inFile = variable.endsWith(FILE_SUFFIX) ? findKey(variable.slice(0, -FILE_SUFFIX.length)) : undefined
  if (inFile === undefined)
    throw problem(variable, 'no such key: misspelt, or not supported (docs/configuration.md lists them all)')
  return { variable, path: inFile.path, value: toValue(variable, inFile.shape, readValueFile(variable, text)) }
}

function findKey(variable: string): { path: readonly string[]; shape: SettingShape } | undefined {
  const parts = variable
    .slice(PREFIX.length)
    .split('__')
    .map(part => part.toLowerCase().replaceAll('_', '-'))
  const path: string[] = []
  let shape: SettingShape = SETTINGS_SHAPE
  for (const part of parts) {
    // No variable can have the question mark of some keys.
    const key = shapeOfKey(shape, part) === undefined ? `${part}?` : part
    const found = part === '' ? undefined : shapeOfKey(shape, key)
    if (found === undefined) return undefined
    path.push(key)
    shape = found
  }
  return { path, shape }
}

function toValue(variable: string, shape: SettingShape, text: string): unknown {
  if (shape.type === 'string') return text
  try {
    return parse(text)
  } catch (error) {
    throw problem(variable, `not a YAML value: ${(error as Error).message.split('\n')[0]}`)
  }
}

function readValueFile(variable: string, file: string): string {
  try {
    if (statSync(file).size > VALUE_FILE_BYTES_MAX) throw new Error(`larger than ${VALUE_FILE_BYTES_MAX} bytes`)
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw problem(variable, `cannot read ${file}: ${(error as Error).message}`)
  }
}

function problem(variable: string, text: string): WaiterError {
  return new WaiterError(`${nameOfOverride(variable)}: ${text}`, { code: 'WTR_CONFIG' })
}
