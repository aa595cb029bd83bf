import { err, ok, type Result } from '@waiter/base'
import { isJsonObject, parseLimitedJson } from './json.ts'
import { findParameter } from './parameters.ts'
import { isDescriptionHeader, type WaiterHeaders } from './waiter-headers.ts'

/** A request's description headers as parameters, not yet validated. Maps have no prototype: keys are hostile. */
export interface HeaderParameters {
  /** Service parameters by wire name, `env` and `metadata` as maps. */
  readonly parameters: Readonly<Record<string, unknown>>
  /** Values of `x-waiter-param-*` by upper-case name. */
  readonly params: Readonly<Record<string, string>>
  /** True when any description header is there, `param-*` included. */
  readonly isPresent: boolean
}

/** Description headers of one request. */
export const DESCRIPTION_HEADERS_MAX = 256
const HEADER_JSON_LIMITS = { charsMax: 16_384, depthMax: 4, itemsMax: 512 }

/**
 * Turns waiter headers into parameters (spec §1.2 points 1 and 3). Text parameters are taken as they are, others parsed
 * as JSON; what is not JSON stays text and fails validation later, with the parameter's own message.
 *
 * @returns a sentence for the user when there are too many headers
 */
export function readHeaderParameters(headers: WaiterHeaders): Result<HeaderParameters, string> {
  const parameters: Record<string, unknown> = Object.create(null)
  const env: Record<string, unknown> = Object.create(null)
  const metadata: Record<string, unknown> = Object.create(null)
  const params: Record<string, string> = Object.create(null)
  let count = 0
  for (const [name, value] of headers) {
    if (!isDescriptionHeader(name)) continue
    count++
    if (name.startsWith('env-')) env[name.slice('env-'.length).toUpperCase()] = value
    else if (name.startsWith('param-')) params[name.slice('param-'.length).toUpperCase()] = value
    else if (name.startsWith('metadata-')) metadata[name.slice('metadata-'.length)] = value
    else parameters[name] = readValue(name, value)
  }
  if (count > DESCRIPTION_HEADERS_MAX) {
    return err(`A request can have at most ${DESCRIPTION_HEADERS_MAX} headers that describe a service, not ${count}.`)
  }
  addMap(parameters, 'env', env)
  addMap(parameters, 'metadata', metadata)
  return ok({ parameters, params, isPresent: count > 0 })
}

function readValue(name: string, value: string): unknown {
  if (name === 'allowed-params') {
    return value
      .split(',')
      .map(item => item.trim())
      .filter(item => item !== '')
  }
  if (findParameter(name)?.isTextHeader === true) return value
  const parsed = parseLimitedJson(value, HEADER_JSON_LIMITS)
  return parsed.ok ? parsed.value : value
}

/** Entries of single headers win over those of a whole map in `x-waiter-env` or `x-waiter-metadata`. */
function addMap(parameters: Record<string, unknown>, name: 'env' | 'metadata', entries: Record<string, unknown>): void {
  if (Object.keys(entries).length === 0) return
  const whole = parameters[name]
  if (whole !== undefined && !isJsonObject(whole)) return
  const merged: Record<string, unknown> = Object.create(null)
  for (const source of [whole ?? {}, entries]) {
    for (const [key, value] of Object.entries(source)) merged[key] = value
  }
  parameters[name] = merged
}
