import t from 'tap'
import { MESSAGE_KEYS, withMessages } from '../src/errors/messages.ts'

t.test('sentences in the words of an administrator', async t => {
  const messages = { 'not-found': 'Nothing here', 'bad-startup-command': 'Read the manual', 'tls-error': undefined }
  const say = (message: string, details?: Record<string, unknown>) =>
    withMessages({ status: 503, message, ...(details === undefined ? {} : { details }) }, messages).message
  t.equal(say('Not found'), 'Nothing here')
  t.equal(say('Not found: neither a part'), 'Nothing here: neither a part', 'what follows stays')
  t.equal(say('Token not found: x'), 'Token not found: x')
  t.equal(
    say('Deployment error: Invalid startup command', { 'deployment-error': 'bad-startup-command' }),
    'Deployment error: Read the manual',
  )
  t.equal(say('Deployment error: TLS', { 'deployment-error': 'tls-error' }), 'Deployment error: TLS')
  t.equal(say('Deployment error: x', { 'deployment-error': 'constructor' }), 'Deployment error: x')
  const error = { status: 404, message: 'Not found' }
  t.equal(withMessages(error, {}), error)
  t.ok(MESSAGE_KEYS.includes('not-enough-memory'))
})
