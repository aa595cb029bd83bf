import { userInfo } from 'node:os'
import { createServicesConfig } from '@waiter/services'
import t from 'tap'
import { loadSettings } from '../src/config/load-settings.ts'
import { showSettings } from '../src/config/show-settings.ts'

t.test('what is in force is shown, also where the configuration says nothing', async t => {
  const settings = loadSettings(undefined)
  const { defaults, token } = createServicesConfig()
  t.same(showSettings(settings)['service-description-defaults'], defaults)
  t.match(showSettings(settings)['token-config'], { 'history-length': 5, 'token-defaults': token.defaults })
  const authenticator = { kind: 'one-user', jwt: 'disabled', 'one-user': { 'run-as-user': userInfo().username } }
  t.match(showSettings(settings)['authenticator-config'], authenticator)
  t.same(Object.keys(showSettings(settings)), Object.keys(settings), 'and nothing is left out')
})

t.test('what the configuration says is shown, without secrets', async t => {
  const settings = {
    ...loadSettings(undefined),
    'service-description-defaults': { 'max-instances': 7 },
    'password-store-config': { kind: 'configured' as const, configured: { passwords: ['a-secret-of-this-test'] } },
  }
  const shown = showSettings(settings)
  t.match(shown['service-description-defaults'], { 'max-instances': 7, 'min-instances': 1 })
  t.notMatch(JSON.stringify(shown), 'a-secret-of-this-test')
})
