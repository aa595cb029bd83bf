import fc from 'fast-check'
import t from 'tap'
import { normalizeServerName, SniTable } from '../../src/tls/sni-table.ts'

const table = new SniTable([
  { names: ['first.example'], value: 'first' },
  { names: ['*.example.com', 'shop.example.com'], value: 'wild' },
  { names: ['Pay.Example.com', 'example.com'], value: 'exact' },
  { names: ['*.deep.example.com'], value: 'deep' },
  { names: ['shop.example.com'], value: 'later' },
])

t.test('which certificate a client gets', async t => {
  const rows: [sentence: string, name: string | undefined, certificate: string][] = [
    ['nobody named', undefined, 'first'],
    ['an empty name', '', 'first'],
    ['its own name', 'first.example', 'first'],
    ['exactly a name', 'pay.example.com', 'exact'],
    ['in capitals', 'PAY.EXAMPLE.COM', 'exact'],
    ['with the dot of the root', 'pay.example.com.', 'exact'],
    ['a label in place of the asterisk', 'www.example.com', 'wild'],
    ['the parent of a wildcard, by its own name', 'example.com', 'exact'],
    ['two labels in place of the asterisk are none', 'a.b.example.com', 'first'],
    ['the nearest wildcard', 'a.deep.example.com', 'deep'],
    ['the wildcard above, by itself', 'deep.example.com', 'wild'],
    ['of two with one name the first', 'shop.example.com', 'wild'],
    ['an unknown name', 'elsewhere.org', 'first'],
    ['an asterisk asked for', '*.example.com', 'first'],
    ['no name at all', 'a..b', 'first'],
    ['an address', '127.0.0.1', 'first'],
    ['too long a name', `${'a.'.repeat(130)}com`, 'first'],
  ]
  for (const [sentence, name, certificate] of rows) t.equal(table.find(name), certificate, sentence)
})

t.test('what a certificate can be for', async t => {
  for (const name of ['a', 'a.b', '*.a.b', 'xn--bcher-kva.example', '_x.a', 'a-b.c'])
    t.equal(normalizeServerName(name), name)
  for (const name of ['', '.', '*', '*.', 'a*.b', 'a.*.b', '-a.b', 'a-.b', 'a b', 'a/b', 'ä.b', 'a..b', '**.b'])
    t.equal(normalizeServerName(name), undefined, JSON.stringify(name))
})

t.test('a name is found whatever else is there; a wildcard covers one label', async t => {
  const label = fc.stringMatching(/^[a-z0-9]{1,8}$/)
  const name = fc.array(label, { minLength: 2, maxLength: 4 }).map(labels => labels.join('.'))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 20 }), label, (names, first) => {
        const entries = names.map(one => ({ names: [one, `*.${one}`], value: one }))
        const [head, ...rest] = entries as [(typeof entries)[number], ...typeof entries]
        const all = new SniTable([head, ...rest])
        for (const one of names) {
          if (all.find(one) !== one) return false
          const below = `${first}.${one}`
          if (all.find(below) !== (names.includes(below) ? below : one)) return false
          if (all.find(`${first}.${first}.${first}.${first}.${one}`) !== names[0]) return false
        }
        return true
      }),
    ),
  )
})
