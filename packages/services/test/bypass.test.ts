import { isBypassService } from '@waiter/services'
import t from 'tap'

t.test('traffic passes a service by that says so in its routing mode or its metadata', async t => {
  for (const [description, isBypass] of [
    [{}, false],
    [{ 'routing-mode': 'default' }, false],
    [{ 'routing-mode': 'waiter-router' }, false],
    [{ 'routing-mode': 'headless' }, true],
    [{ 'routing-mode': 'ingress-distributed' }, true],
    [{ 'routing-mode': 'ingress-centralized' }, true],
    [{ metadata: { 'waiter-proxy-bypass-opt-in': 'true' } }, true],
    [{ metadata: { 'waiter-proxy-bypass-opt-in': 'false' } }, false],
  ] as const)
    t.equal(isBypassService(description), isBypass, JSON.stringify(description))
})
