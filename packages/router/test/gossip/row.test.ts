import t from 'tap'
import {
  chooseLoads,
  parseAbout,
  parseLoad,
  parseObservation,
  renderAbout,
  renderLoad,
  renderObservation,
  roundLoopDelay,
} from '../../src/gossip/row.ts'

t.test('what a router says is read as it was meant', async t => {
  const about = { routerId: 'r-1', nodeId: 'n', version: '1', httpUrl: 'http://a:1', peerAddress: 'a:2' }
  t.same(parseAbout(renderAbout(about)), about)
  const observation = { serviceId: 's', failures: 2, ejection: 7 }
  t.same(parseObservation(renderObservation(observation)), observation)
  t.same(parseLoad(renderLoad({ outstanding: 3, waiting: 1 })), { outstanding: 3, waiting: 1 })
})

t.test('what makes no sense is not read', async t => {
  for (const text of [
    undefined,
    '',
    '{',
    '[]',
    '{"router":1}',
    '{"service":"","failures":0,"ejection":1}',
    '-1 2',
    'NaN',
  ])
    t.same([parseAbout(text), parseObservation(text ?? ''), parseLoad(text ?? '')], [undefined, undefined, undefined])
  t.equal(parseObservation('{"service":"s","failures":0,"ejection":1,"more":1}'), undefined)
})

t.test('the busiest services are told, idle ones never', async t => {
  const rows = [1, 0, 5, 3].map(outstanding => ({ outstanding, waiting: 0 }))
  t.same(
    chooseLoads(rows, 2).map(({ outstanding }) => outstanding),
    [5, 3],
  )
  t.same(
    chooseLoads(rows, 9).map(({ outstanding }) => outstanding),
    [1, 5, 3],
  )
})

t.test('the delay of the event loop is told in steps, so that it rests when nothing happens', async t => {
  t.same([0, 2, 3, 10, 11, 70, 1000, 1001, 5500].map(roundLoopDelay), [0, 0, 10, 10, 20, 100, 1000, 2000, 6000])
})
