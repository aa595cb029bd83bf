import t from 'tap'
import { OpenTunnels } from '../src/services/open-tunnels.ts'

function tunnel() {
  const made = {
    closed: 0,
    closeTunnel: () => {
      made.closed += 1
    },
  }
  return made
}

t.test('only tunnels to instances that are stopped are closed, also one that begins too late', async t => {
  const tunnels = new OpenTunnels()
  const [first, second, ended, other, late] = [tunnel(), tunnel(), tunnel(), tunnel(), tunnel()]
  for (const one of [first, second, ended]) tunnels.add('a', one)
  tunnels.add('b', other)
  tunnels.delete('a', ended)
  tunnels.delete('c', ended)
  tunnels.closeOn(['a', 'c'])
  tunnels.add('a', late)
  t.same(
    [first, second, ended, other, late].map(({ closed }) => closed),
    [1, 1, 0, 0, 1],
  )
  tunnels.closeOn([])
  const spared = tunnel()
  tunnels.add('a', spared)
  t.equal(spared.closed, 0, 'an instance that was taken back')
})
