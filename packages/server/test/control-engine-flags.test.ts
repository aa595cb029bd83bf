import { getHeapStatistics } from 'node:v8'
import t from 'tap'
import { controlEngineFlags } from '../src/process/control-engine-flags.ts'

t.test('a control process has a bound for its old objects, no higher than Node has it', async t => {
  const [flag] = controlEngineFlags([])
  const mb = Number(/^--max-old-space-size=(\d+)$/.exec(flag ?? '')?.[1])
  t.ok(mb > 0 && mb <= 1_536, String(flag))
  t.ok(mb * 2 ** 20 <= getHeapStatistics().heap_size_limit)
})

t.test('whoever gives a bound keeps it', async t => {
  t.same(controlEngineFlags(['--enable-source-maps', '--max-old-space-size=4096']), [])
  t.same(controlEngineFlags(['--trace-gc --max_old_space_size=300']), [])
})
