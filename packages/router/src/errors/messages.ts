import type { RequestError } from './error-response.ts'

/** Sentences that an administrator may replace (spec §12 `:messages`), by key, as they are by default. */
const SENTENCES: Readonly<Record<string, string>> = {
  'backend-connect-error': 'Request failed to connect to service backend',
  'backend-request-failed': 'Request to service backend failed',
  'backend-request-timed-out': 'Request to service backend timed out',
  'cannot-identify-service': 'Unable to identify service using waiter headers/token',
  'invalid-service-description': 'Service description using waiter headers/token improperly configured',
  'not-found': 'Not found',
}
/** Why a service cannot start: their sentence follows `Deployment error: `. */
const DEPLOYMENT_ERRORS = [
  'bad-socket',
  'bad-startup-command',
  'cannot-connect',
  'health-check-requires-authentication',
  'health-check-timed-out',
  'invalid-health-check-response',
  'not-enough-memory',
  'tls-error',
] as const

/** Keys that `messages` may have. */
export const MESSAGE_KEYS: [string, ...string[]] = [...DEPLOYMENT_ERRORS, ...Object.keys(SENTENCES)]

/** By key: the sentence to say instead. */
export type Messages = Readonly<Record<string, string | undefined>>

/** The error in the administrator's words; details that follow a sentence stay. */
export function withMessages(error: RequestError, messages: Messages): RequestError {
  const reason = error.details?.['deployment-error']
  if (typeof reason === 'string') {
    const text = Object.hasOwn(messages, reason) ? messages[reason] : undefined
    return text === undefined ? error : { ...error, message: `Deployment error: ${text}` }
  }
  for (const [key, text] of Object.entries(messages)) {
    const sentence = SENTENCES[key]
    if (text === undefined || sentence === undefined || !error.message.startsWith(sentence)) continue
    return { ...error, message: text + error.message.slice(sentence.length) }
  }
  return error
}
