/**
 * The composition root: what one started `waiter` is. `launch` (`npm start`, `waiter up`) → `cluster` → `node` → the processes in
 * `process/`; configuration in `config/`. Everything concrete is constructed here and nowhere else.
 */
export { type Settings, settingsSchema } from './config/schema.ts'
export { SETTINGS_SHAPE, type SettingShape } from './config/settings-shape.ts'
export { type LaunchOptions, launch } from './launch.ts'
