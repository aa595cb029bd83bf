import { SETTINGS_SHAPE, type SettingShape, shapeOfKey } from './settings-shape.ts'

const HIDDEN = '<hidden>'

/** The configuration as anybody may see it: what the schema marks as secret is hidden. */
export function redactSettings(settings: unknown, shape: SettingShape = SETTINGS_SHAPE): unknown {
  if (shape.secret === true) return hide(settings)
  if (Array.isArray(settings)) {
    const { items } = shape
    return typeof items === 'object' ? settings.map(item => redactSettings(item, items)) : settings
  }
  if (typeof settings !== 'object' || settings === null) return settings
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key, redactSettings(value, shapeOfKey(shape, key) ?? {})]),
  )
}

/** How many secrets there are may be seen; that there is none, too. */
function hide(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(hide)
  return value === undefined || value === null ? value : HIDDEN
}
