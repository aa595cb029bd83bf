import { createPrng } from '@waiter/base'
import t from 'tap'
import { createSealedBox, type SealedBoxOptions } from '../../src/auth/sealed-box.ts'

const SEED = 7
const boxOf = (changes: Partial<SealedBoxOptions> = {}) =>
  createSealedBox({ secrets: ['first secret'], clusterName: 'one', purpose: 'test', charsMax: 4096, ...changes })

t.test('what was sealed opens, and says nothing until then', async t => {
  const value = ['alice@EXAMPLE', 1, { 'expires-at': 2 }]
  const sealed = boxOf().seal(value)
  t.same(boxOf().open(sealed), value, 'in another router, too')
  t.match(sealed, /^v1\.[\w-]{8}\.[\w-]+$/, 'fit for a cookie')
  t.notMatch(Buffer.from(sealed.split('.')[2] ?? '', 'base64url').toString('latin1'), /alice/)
  t.not(boxOf().seal(value), sealed, 'never the same twice')
})

t.test('secrets are exchanged one after the other', async t => {
  const old = boxOf({ secrets: ['old'] })
  const between = boxOf({ secrets: ['new', 'old'] })
  const fresh = boxOf({ secrets: ['new'] })
  t.equal(between.open(old.seal('a')), 'a', 'given before')
  t.equal(fresh.open(between.seal('b')), 'b', 'the first one seals')
  t.equal(fresh.open(old.seal('c')), undefined, 'forgotten')
  t.throws(() => boxOf({ secrets: [] }), RangeError)
})

t.test('nothing else opens', async t => {
  const box = boxOf()
  const sealed = box.seal('secret', 'alice')
  t.equal(box.open(sealed, 'alice'), 'secret')
  t.equal(box.open(sealed, 'bob'), undefined, 'whose it is not')
  t.equal(box.open(sealed), undefined)
  t.equal(boxOf({ clusterName: 'two' }).open(sealed, 'alice'), undefined, 'another cluster with the same secret')
  t.equal(boxOf({ purpose: 'other' }).open(sealed, 'alice'), undefined, 'another purpose')
  t.equal(boxOf({ secrets: ['other'] }).open(sealed, 'alice'), undefined, 'another secret')
  t.equal(boxOf({ charsMax: 20 }).open(sealed, 'alice'), undefined, 'too long')
  const [version, id, text = ''] = sealed.split('.')
  const odd = [
    '',
    '.',
    '..',
    'v1',
    `v1.${id}`,
    `v1.${id}.`,
    `v2.${id}.${text}`,
    `v1.x.${text}`,
    `${sealed}.`,
    `v1.${id}.AAAA`,
  ]
  for (const value of odd) t.equal(box.open(value, 'alice'), undefined, value)
  t.equal(version, 'v1')
})

t.test('a changed character anywhere is noticed', async t => {
  const box = boxOf()
  const prng = createPrng(SEED)
  const sealed = box.seal({ user: 'alice' })
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.'
  let opened = 0
  const CASES = 2_000
  for (let i = 0; i < CASES; i++) {
    const at = prng.below(sealed.length)
    const changed = sealed.slice(0, at) + alphabet[prng.below(alphabet.length)] + sealed.slice(at + 1)
    if (decode(changed) !== decode(sealed) && box.open(changed) !== undefined) opened += 1
    if (box.open(sealed.slice(0, at)) !== undefined) opened += 1
  }
  t.equal(opened, 0)
})

/** Two texts may stand for the same octets: the last character has spare bits. */
function decode(sealed: string): string {
  const [version, id, text = '', ...rest] = sealed.split('.')
  return [version, id, Buffer.from(text, 'base64url').toString('hex'), ...rest].join('.')
}
