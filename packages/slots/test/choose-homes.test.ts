import { chooseHomes, EVERYBODY_MAX, type HashedRouter, HOMES, hashText } from '@waiter/slots'
import fc from 'fast-check'
import t from 'tap'

function routers(count: number): HashedRouter[] {
  return Array.from({ length: count }, (_, index) => {
    const routerId = `router-${index}`
    return { routerId, hash: hashText(routerId) }
  })
}

t.test('H1 a few routers are all homes, of many some', async t => {
  for (const [count, homes] of [
    [0, 0],
    [1, 1],
    [EVERYBODY_MAX, EVERYBODY_MAX],
    [EVERYBODY_MAX + 1, HOMES],
    [200, HOMES],
  ] as const)
    t.equal(new Set(chooseHomes(hashText('service'), routers(count))).size, homes, `of ${count}`)
})

t.test('H2 the order of routers does not matter, and one that goes takes nobody else along', async t => {
  const property = fc.property(
    fc.string(),
    fc.integer({ min: EVERYBODY_MAX + 2, max: 60 }),
    fc.nat(),
    (id, count, at) => {
      const all = routers(count)
      const homes = chooseHomes(hashText(id), all)
      const reversed = chooseHomes(hashText(id), [...all].reverse())
      if (homes.join() !== reversed.join()) throw new Error('the order matters')
      const [gone] = all.splice(at % count, 1)
      const later = chooseHomes(hashText(id), all)
      const stayed = homes.filter(home => home !== gone?.routerId)
      if (!stayed.every(home => later.includes(home)))
        throw new Error(`${homes} became ${later} without ${gone?.routerId}`)
    },
  )
  t.doesNotThrow(() => fc.assert(property, { seed: 31, numRuns: 500 }))
})

t.test('H2 services are spread evenly', async t => {
  const counts = new Map<string, number>()
  const SERVICES = 10_000
  const all = routers(100)
  for (let index = 0; index < SERVICES; index++)
    for (const home of chooseHomes(hashText(`service-${index}`), all)) counts.set(home, (counts.get(home) ?? 0) + 1)
  const expected = (SERVICES * HOMES) / 100
  t.equal(counts.size, 100)
  for (const count of counts.values()) t.ok(Math.abs(count - expected) < expected / 4, `${count} of ${expected}`)
})
