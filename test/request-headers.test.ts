import { kitchenCommand, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { describeService, postToken } from './support/services.ts'

t.test('what a backend is told of a request, and what it is not', async t => {
  const waiter = await startWaiter()
  t.teardown(() => waiter.stop())
  await postToken(waiter, 'told', describeService(kitchenCommand(), { name: 'told' }))
  const { principal, routerId } = await whoAnswers()

  async function whoAnswers() {
    const login = await waiter.request({ path: '/waiter-auth' })
    return { principal: login.text, routerId: (await waiter.api('/state'))['router-id'] as string }
  }
  const ask = async (headers: Record<string, string> = {}) => {
    const answer = await waiter.request({
      path: '/request-info?a=b',
      headers: { 'x-waiter-token': 'told', ...headers },
    })
    return { answer, told: JSON.parse(answer.text) as { cookies: string[]; headers: Record<string, string> } }
  }

  t.test('a backend hears who asks, and that Waiter asks for him', async t => {
    const { told } = await ask({ authorization: 'Bearer of-the-client', 'x-cid': 'cid-1' })
    t.match(told.headers, {
      authorization: /^Basic /,
      'x-waiter-auth-principal': principal,
      'x-waiter-authenticated-principal': principal,
      'x-cid': 'cid-1',
      host: `127.0.0.1:${waiter.port}`,
    })
    t.notOk('x-waiter-token' in told.headers)
    const forged = await ask({ 'x-waiter-auth-principal': 'root2', 'x-waiter-authenticated-principal': 'root2' })
    t.equal(forged.told.headers['x-waiter-auth-principal'], principal)
    t.equal(forged.told.headers['x-waiter-authenticated-principal'], principal)
  })

  t.test('the name of the router is added to via, in both directions', async t => {
    const { answer, told } = await ask({ via: '1.0 in-front' })
    t.equal(told.headers.via, `1.0 in-front, 1.1 ${routerId}`)
    t.match(answer.headers.via, `1.1 ${routerId}`)
    t.equal((await ask()).told.headers.via, `1.1 ${routerId}`)
  })

  t.test('own cookies do not reach a backend, others do', async t => {
    const own = ['x-waiter-auth=a', 'x-auth-expires-at=1', 'x-waiter-oidc-challenge-0123=c']
    const { told } = await ask({ cookie: ['first=1', ...own, 'x-waiter-consent=k', 'last=2'].join('; ') })
    t.same(told.cookies, ['first=1', 'x-waiter-consent=k', 'last=2'])
    t.same((await ask({ cookie: own.join('; ') })).told.cookies, [], 'no header is left of nothing')
  })
})
