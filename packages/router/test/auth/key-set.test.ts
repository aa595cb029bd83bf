import { generateKeyPairSync } from 'node:crypto'
import { silentLogger } from '@waiter/base'
import { createSigningKey, type SigningKey } from '@waiter/testkit'
import t from 'tap'
import { KeySet } from '../../src/auth/web-token/key-set.ts'

/** A key set with the clock, the timer and the provider in the test's hands. */
class World {
  nowMs = 1_000_000
  fetches = 0
  answer: () => unknown = () => ({ keys: [] })
  timer: { readonly delayMs: number; readonly callback: () => void } | undefined
  readonly keys = new KeySet({
    url: 'https://login.example.com/keys',
    updateIntervalMs: 60_000,
    timeoutMs: 5_000,
    algorithms: ['EdDSA', 'RS256'],
    fetchJson: async () => {
      this.fetches += 1
      return this.answer()
    },
    nowMs: () => this.nowMs,
    after: (delayMs, callback) => {
      this.timer = { delayMs, callback }
      return () => {
        this.timer = undefined
      }
    },
    log: silentLogger,
  })

  publish(...keys: readonly SigningKey[]): void {
    this.answer = () => ({ keys: keys.map(jwkOf) })
  }

  /** The timer's time has come; waits until the fetch is over. */
  async tick(): Promise<void> {
    const { timer } = this
    if (timer === undefined) throw new Error('there is no timer')
    this.timer = undefined
    this.nowMs += timer.delayMs
    timer.callback()
    await this.settle()
  }

  /** Until the next timer is set. */
  async settle(): Promise<void> {
    while (this.timer === undefined) await new Promise(resolve => setImmediate(resolve))
  }
}

const jwkOf = ({ id, publicKey }: SigningKey) => ({ ...publicKey.export({ format: 'jwk' }), kid: id })
const [one, two] = [createSigningKey('EdDSA', 'one'), createSigningKey('RS256', 'two')]

t.test('keys are fetched at the start, every so often, and when one is unknown', async t => {
  const world = new World()
  world.publish(one)
  world.keys.start()
  await world.settle()
  t.equal(world.fetches, 1)
  t.equal(world.timer?.delayMs, 60_000)
  t.ok(await world.keys.find('one', 'EdDSA'))
  t.equal(await world.keys.find('one', 'RS256'), undefined, 'a key is for one algorithm')
  const { generation } = world.keys
  await world.tick()
  t.equal(world.fetches, 2)
  t.equal(world.keys.generation, generation, 'the same again')

  world.publish(one, two)
  world.nowMs += 9_999
  t.equal(await world.keys.find('two', 'RS256'), undefined, 'it asked a moment ago')
  world.nowMs += 1
  const found = await Promise.all([1, 2, 3].map(() => world.keys.find('two', 'RS256')))
  t.ok(found.every(key => key !== undefined))
  t.equal(world.fetches, 3, 'one question for all of them')
  t.not(world.keys.generation, generation)
  world.publish(two)
  await world.settle()
  await world.tick()
  t.equal(await world.keys.find('one', 'EdDSA'), undefined, 'withdrawn')
  world.keys.stop()
  t.equal(world.timer, undefined)
  t.equal(await world.keys.find('three', 'EdDSA'), undefined)
  t.equal(world.fetches, 4, 'stopped')
})

t.test('while the provider fails, the keys from before remain, and it is asked less and less often', async t => {
  const world = new World()
  world.publish(one)
  world.keys.start()
  await world.settle()
  world.answer = () => {
    throw new Error('it answered 500')
  }
  const delays: (number | undefined)[] = []
  for (let failures = 0; failures < 9; failures += 1) {
    await world.tick()
    delays.push(world.timer?.delayMs)
  }
  t.same(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000])
  t.ok(await world.keys.find('one', 'EdDSA'))
  t.match(world.keys.state(), { 'key-ids': ['one'], problem: /it answered 500/ })
  world.publish(one)
  await world.tick()
  t.equal(world.timer?.delayMs, 60_000)
  t.equal(world.keys.state()['problem'], undefined)
  world.keys.stop()
})

t.test('answers that are no key sets, and keys that are none', async t => {
  const small = generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey.export({ format: 'jwk' })
  const withPrivate = { ...one.privateKey.export({ format: 'jwk' }), kid: 'leaked' }
  const rows: readonly (readonly [story: string, answer: unknown, ids: readonly string[]])[] = [
    ['nothing', null, []],
    ['no list', { keys: 'x' }, []],
    ['too many', { keys: Array.from({ length: 101 }, () => jwkOf(one)) }, []],
    ['none', { keys: [] }, []],
    [
      'of other kinds',
      { keys: [null, 7, {}, { kty: 'oct', k: 'AAAA', kid: 'secret' }, { ...jwkOf(one), use: 'enc' }] },
      [],
    ],
    [
      'for another algorithm',
      {
        keys: [
          { ...jwkOf(two), alg: 'RS512' },
          { ...small, kid: 'es', kty: 'EC', crv: 'P-256' },
        ],
      },
      [],
    ],
    [
      'without ids',
      {
        keys: [
          { ...jwkOf(one), kid: undefined },
          { ...jwkOf(one), kid: '' },
        ],
      },
      [],
    ],
    [
      'broken ones among good ones',
      { keys: [{ kty: 'OKP', crv: 'Ed25519', x: '!', kid: 'bad' }, jwkOf(two)] },
      ['two'],
    ],
    ['the same id twice', { keys: [jwkOf(one), { ...jwkOf(two), kid: 'one' }] }, ['one']],
    ['one with its private part', { keys: [withPrivate] }, ['leaked']],
  ]
  for (const [story, answer, ids] of rows) {
    const world = new World()
    world.answer = () => answer
    world.keys.start()
    await world.settle()
    t.same(world.keys.state()['key-ids'], ids, story)
    const key = ids[0] === 'leaked' ? await world.keys.find('leaked', 'EdDSA') : undefined
    if (key !== undefined) t.equal(key.type, 'public', 'only what everybody may know')
    world.keys.stop()
  }
})
