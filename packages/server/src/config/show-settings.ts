import { redactSettings } from './redact-settings.ts'
import type { Settings } from './schema.ts'
import { oneUserOf, toServicesConfig } from './services-config.ts'

/** What `/settings` shows: what is in force, also where the configuration says nothing; secrets are hidden. */
export function showSettings(settings: Settings): Readonly<Record<string, unknown>> {
  const { defaults, token } = toServicesConfig(settings)
  const shown = redactSettings(settings) as Record<string, unknown>
  const authenticator = shown['authenticator-config'] as object
  return {
    ...shown,
    'authenticator-config': { jwt: 'disabled', ...authenticator, 'one-user': { 'run-as-user': oneUserOf(settings) } },
    'service-description-defaults': defaults,
    'token-config': { ...(shown['token-config'] as object), 'token-defaults': token.defaults },
  }
}
