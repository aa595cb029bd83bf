import { eventually, type StartedWaiter } from '@waiter/testkit'
import t from 'tap'
import { untilLed } from './support/control-nodes.ts'
import { createHosts, membersOf, untilVoters } from './support/several-hosts.ts'
import { helloService, postToken } from './support/services.ts'

const namesOfToken = async (waiter: StartedWaiter, token: string): Promise<string> =>
  (await waiter.api(`/token?token=${token}`)).name

t.test('three hosts become one cluster, lose the leading one, go on, and have it back', async t => {
  const hosts = createHosts(t)
  const a = await hosts.start('a')
  await postToken(a, 'early', helloService('early'))
  const b = await hosts.start('b', [a])
  const c = await hosts.start('c', [a, b])
  const members = await untilVoters(c, ['a-1', 'b-1', 'c-1'])
  t.equal(new Set(members.map(({ host }) => host)).size, 3, 'each on a host of its own')
  for (const [index, waiter] of [a, b, c].entries()) {
    t.ok(members[index]?.address.startsWith(`127.0.0.${10 + index}:`), 'reached by its own address')
    t.equal(await namesOfToken(waiter, 'early'), 'early', 'whoever joins has everything')
  }
  await postToken(c, 'written-at-c', helloService('c'))
  t.equal(await namesOfToken(a, 'written-at-c'), 'c')

  const router = await hosts.start('d', [b], ['--roles', 'router'])
  t.same(router.nodes[0]?.roles, ['router'])
  t.equal(router.processes('control').length, 0)
  await postToken(router, 'written-at-d', helloService('d'))
  t.equal((await membersOf(router)).length, 3, 'it has no vote')

  const { leaderId, term } = await untilLed(b)
  const lost = [a, b, c].find(({ nodes }) => nodes[0]?.id === leaderId) ?? a
  const others = [a, b, c].filter(waiter => waiter !== lost)
  await lost.kill9()
  for (const waiter of [...others, router]) await untilLed(waiter, term)
  for (const [index, waiter] of others.entries())
    await postToken(waiter, `after-${index}`, helloService(`after-${index}`))

  // The seeds of its first start are of no use any more, and it does not need them.
  const back = await hosts.start(leaderId.slice(0, 1), [], ['--port', '0'])
  await untilLed(back, term)
  await eventually(async () => {
    const all = await membersOf(back)
    return all.every(member => member.role === 'voter') && all.length === 3 ? all : undefined
  }, 'all to be members again')
  t.equal(await namesOfToken(back, 'after-0'), 'after-0')
  await postToken(router, 'followed', helloService('followed'))

  for (const waiter of others) await waiter.kill9()
  const refused = await eventually(async () => {
    const answer = await router.request({
      ...{ method: 'POST', path: '/token?token=refused' },
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify(helloService('refused')),
    })
    return answer.text.includes('WTR_STORE_UNAVAILABLE') ? answer : undefined
  }, 'the last voter to know that it is alone')
  t.equal(refused.status, 503)
  t.match(refused.text, /2 of the 3 control nodes must answer, and they do not/)
})
