import { computeServiceId, PARAMETERS, type ServiceDescription } from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete } from './fixtures.ts'

const prefix = 'waiter-service-'

t.test('I1 the id shows the name, cleaned, and a hash', async t => {
  const rows: [string | undefined, RegExp][] = [
    ['My App_2', /^waiter-service-myapp2-[0-9a-f]{32}$/],
    [undefined, /^waiter-service-[0-9a-f]{32}$/],
    ['日本', /^waiter-service-[0-9a-f]{32}$/],
    ['x'.repeat(256), /^waiter-service-x{64}-[0-9a-f]{32}$/],
  ]
  for (const [name, pattern] of rows) {
    t.match(computeServiceId(name === undefined ? complete : { ...complete, name }, prefix), pattern, `${name}`)
  }
  t.equal(computeServiceId(complete, prefix), 'waiter-service-a81181cea38dc8552235aa640a718348', 'ids survive releases')
})

const descriptions = fc.record(
  {
    cmd: fc.string(),
    cpus: fc.double({ noNaN: true, noDefaultInfinity: true }),
    name: fc.string(),
    env: fc.dictionary(fc.string({ maxLength: 6 }), fc.string({ maxLength: 6 })),
    metadata: fc.dictionary(fc.string({ maxLength: 6 }), fc.string({ maxLength: 6 })),
    'allowed-params': fc.array(fc.string({ maxLength: 4 })),
    'health-check-proto': fc.constantFrom(null, 'http' as const),
    version: fc.string(),
  },
  { requiredKeys: [] },
)

t.test('I2 the order of keys and of allowed-params never matters', async t => {
  const reversed = (value: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([key, item]) => [
          key,
          Array.isArray(item)
            ? [...item, ...item].reverse()
            : typeof item === 'object' && item !== null
              ? reversed(item as Record<string, unknown>)
              : item,
        ]),
    )
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(descriptions, description => {
          const mirrored = reversed(description) as ServiceDescription
          return computeServiceId(description, prefix) === computeServiceId(mirrored, prefix)
        }),
        { seed: 22, numRuns: 1000 },
      ),
    '1000 pairs agree',
  )
})

t.test('I3 every parameter takes part, and so does the place of each character', async t => {
  const seen = new Map<string, string>([[computeServiceId(complete, prefix), 'complete']])
  const add = (title: string, description: ServiceDescription): void => {
    const id = computeServiceId(description, prefix)
    t.notOk(seen.has(id), `${title} differs from ${seen.get(id)}`)
    seen.set(id, title)
  }
  for (const { name } of PARAMETERS) add(name, { ...complete, [name]: 'something' })
  add('null differs from absent', { ...complete, 'health-check-proto': null })
  add('a number differs from its text', { ...complete, cpus: '0.5' as unknown as number })
  add('env a=bc', { ...complete, env: { a: 'bc' } })
  add('env ab=c', { ...complete, env: { ab: 'c' } })
  add('metadata a=bc', { ...complete, metadata: { a: 'bc' } })
  add('quotes do not forge keys', { ...complete, cmd: `${complete.cmd}","cpus":0.5,"x":"` })
})

t.test('I3 different descriptions have different ids', async t => {
  const text = (value: unknown): string => JSON.stringify(value, Object.keys(flatKeys(value)).sort())
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(descriptions, descriptions, (left, right) => {
          const areEqual =
            text(withSets(left)) === text(withSets(right)) || JSON.stringify(left) === JSON.stringify(right)
          return areEqual || computeServiceId(left, prefix) !== computeServiceId(right, prefix)
        }),
        { seed: 23, numRuns: 1000 },
      ),
    '1000 pairs differ',
  )
})

t.test('I4 metadata of a token does not make another service', async t => {
  const withMetadata = { ...complete, owner: 'bob', 'queue-timeout-ms': 5 } as ServiceDescription
  t.equal(computeServiceId(withMetadata, prefix), computeServiceId(complete, prefix))
})

t.test('I5 an id takes less than 100 µs', async t => {
  const env = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`KEY_${index}`, `value-${index}`]))
  const runs = 2000
  const compute = (): void => {
    for (let run = 0; run < runs; run++) computeServiceId({ ...complete, env }, prefix)
  }
  compute()
  const startedAt = process.cpuUsage()
  compute()
  const used = process.cpuUsage(startedAt)
  const eachUs = (used.user + used.system) / runs
  t.ok(eachUs < 100, `${eachUs.toFixed(1)} µs of CPU each`)
})

function withSets(value: Record<string, unknown>): Record<string, unknown> {
  const params = value['allowed-params']
  return Array.isArray(params) ? { ...value, 'allowed-params': [...new Set(params)].sort() } : value
}

function flatKeys(value: unknown): Record<string, true> {
  const keys: Record<string, true> = {}
  const visit = (item: unknown): void => {
    if (typeof item !== 'object' || item === null) return
    for (const [key, child] of Object.entries(item)) {
      keys[key] = true
      visit(child)
    }
  }
  visit(value)
  return keys
}
