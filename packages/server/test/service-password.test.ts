import t from 'tap'
import { createPasswordFor } from '../src/service-password.ts'

t.test('a service password depends on service and cluster, is the same every time, and shows neither', async t => {
  const passwordFor = createPasswordFor('open-sesame-open-sesame')
  t.match(passwordFor('w-1'), /^[0-9a-f]{64}$/)
  t.equal(passwordFor('w-1'), createPasswordFor('open-sesame-open-sesame')('w-1'))
  t.not(passwordFor('w-1'), passwordFor('w-2'))
  t.not(passwordFor('w-1'), createPasswordFor('another secret of the cluster')('w-1'))
})
