import { err, type Millis, ok, type Result } from '@waiter/base'
import type { ServicesConfig } from './config.ts'
import type { ServiceDescription } from './description.ts'
import type { ServiceOverrides } from './effective-description.ts'
import { isJsonObject, type JsonObject } from './json.ts'
import { listed } from './map-checks.ts'
import { findParameter } from './parameters.ts'
import { validateDescription } from './validate-description.ts'

/** Overrides of one service as they are stored and shown (spec §4.4). */
export interface OverridesRecord {
  readonly overrides: ServiceOverrides
  readonly 'last-updated-by': string
  readonly time: Millis
}

export interface OverridesInput {
  readonly core: ServiceDescription
  /** Overrides in force; the new ones are merged over them. */
  readonly existing: ServiceOverrides
  /** The request's body as parsed JSON. */
  readonly body: unknown
  readonly config: ServicesConfig
}

/**
 * Existing overrides ⊕ body, when all parameters may be overridden and the service stays valid with them (spec §4.4).
 *
 * @returns the overrides to store, or sentences for a 400 answer
 */
export function validateOverrides(input: OverridesInput): Result<ServiceOverrides, string> {
  const { core, existing, body, config } = input
  if (!isJsonObject(body)) return err('Overrides must be a JSON object from parameter to value.')
  const refused = Object.keys(body).filter(name => findParameter(name)?.isOverridable !== true)
  if (refused.length > 0) return err(`Cannot override the following parameter(s): ${listed(refused)}`)
  const merged: JsonObject = { ...existing, ...body }
  // The whole is judged, because an override may contradict what the description says (min over max instances).
  const whole = validateDescription({ ...core, ...merged }, { config, missingRequiredAllowed: true })
  if (!whole.ok) return err(whole.error.friendlyMessage)
  const overrides: Record<string, unknown> = {}
  for (const name of Object.keys(merged).sort()) overrides[name] = merged[name]
  return ok(overrides as ServiceOverrides)
}
