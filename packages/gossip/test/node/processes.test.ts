import t from 'tap'
import { MemberProcess } from './support/member-process.ts'

async function three(stack: AsyncDisposableStack): Promise<[MemberProcess, MemberProcess, MemberProcess]> {
  const first = stack.use(await MemberProcess.start('one'))
  const [second, third] = await Promise.all([
    MemberProcess.start('two', [first.address]),
    MemberProcess.start('three', [first.address]),
  ])
  stack.use(second)
  stack.use(third)
  const members = [first, second, third] as [MemberProcess, MemberProcess, MemberProcess]
  for (const member of members) {
    for (const other of members) if (other !== member) await member.sees(other.id, 'alive')
  }
  return members
}

t.test('a killed process is found dead by both others, and its row is gone', async t => {
  await using stack = new AsyncDisposableStack()
  const [first, second, third] = await three(stack)
  for (const member of [first, second, third]) member.set('outstanding', member.id)
  for (const member of [first, second]) {
    const { rows } = await member.knows(({ rows }) => rows.three?.outstanding === 'three')
    t.match(rows, { three: { outstanding: 'three' } })
  }
  third.child.kill('SIGKILL')
  await Promise.all([first.sees('three', 'dead'), second.sees('three', 'dead')])
  const { rows, members } = await first.ask()
  t.same(rows.three, {})
  t.match(
    members.find(({ id }) => id === 'two'),
    { state: 'alive' },
  )
})

t.test('a stopped process comes back, and accuses nobody of its own silence', async t => {
  await using stack = new AsyncDisposableStack()
  const [first, second, third] = await three(stack)
  third.child.kill('SIGSTOP')
  await Promise.all([first.sees('three', 'dead'), second.sees('three', 'dead')])
  const [sinceFirst, sinceSecond] = [first.news.length, second.news.length]
  third.child.kill('SIGCONT')
  await Promise.all([first.sees('three', 'alive', sinceFirst), second.sees('three', 'alive', sinceSecond)])
  const { status } = await third.ask()
  t.ok(status.refutations >= 1)
  t.same(
    third.news.filter(({ state }) => state === 'dead'),
    [],
  )
})

t.test('a process that leaves is gone without suspicion; its successor is taken at once', async t => {
  await using stack = new AsyncDisposableStack()
  const [first, second, third] = await three(stack)
  third.set('life', 'first')
  await first.knows(({ rows }) => rows.three?.life === 'first')
  const since = first.news.length
  await third.leave()
  await Promise.all([first.sees('three', 'left'), second.sees('three', 'left')])
  const again = stack.use(await MemberProcess.start('three', [first.address, second.address]))
  again.set('life', 'second')
  await first.knows(({ rows }) => rows.three?.life === 'second')
  t.match(
    first.news.slice(since).filter(({ id }) => id === 'three'),
    [{ state: 'left' }, { state: 'alive' }],
  )
})
