import { z } from 'zod'
import { settingsSchema } from './schema.ts'

/** The schema as data: what documentation, environment variables and the hiding of secrets are derived from. */
export interface SettingShape {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly properties?: Readonly<Record<string, SettingShape>>
  /** False: no other keys. A shape: of every value of a map with free keys. */
  readonly additionalProperties?: boolean | SettingShape
  readonly anyOf?: readonly SettingShape[]
  readonly items?: boolean | SettingShape
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly minimum?: number
  readonly maximum?: number
  /** `/settings` does not show it. */
  readonly secret?: boolean
}

/** The shape of the whole configuration. */
export const SETTINGS_SHAPE: SettingShape = z.toJSONSchema(settingsSchema, { io: 'input' }) as SettingShape

/** The shape of one key of a map; undefined when the map cannot have it. */
export function shapeOfKey(shape: SettingShape, key: string): SettingShape | undefined {
  if (shape.properties !== undefined && Object.hasOwn(shape.properties, key)) return shape.properties[key]
  const { additionalProperties } = shape
  return typeof additionalProperties === 'object' ? additionalProperties : undefined
}
