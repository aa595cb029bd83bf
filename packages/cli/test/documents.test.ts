import t from 'tap'
import { checkDocument } from '../src/documents/check-document.ts'
import { readDocuments } from '../src/documents/read-documents.ts'
import { renderPlace } from '../src/documents/token-document.ts'

function read(text: string, token?: string) {
  return readDocuments({ name: 'f.yaml', text }, token)
}

/** Everything that is wrong with a file, as people see it. */
function complaints(text: string, token?: string): string[] {
  const { documents, problems } = read(text, token)
  return [...problems, ...documents.flatMap(checkDocument)].map(
    problem => `${renderPlace(problem)}: ${problem.message}`,
  )
}

t.test('one token or many, YAML or JSON', async t => {
  const rows: [string, string, string | undefined, string[]][] = [
    ['a document', 'token: hello\ncpus: 1\n', undefined, ['hello']],
    ['several documents', 'token: aa\ncpus: 1\n---\ntoken: bb\ncpus: 1\n---\n', undefined, ['aa', 'bb']],
    ['a list', '- {token: aa, cpus: 1}\n- {token: bb, cpus: 2}\n', undefined, ['aa', 'bb']],
    ['JSON', '{"token": "aa",\n\t"cpus": 1}', undefined, ['aa']],
    ['a list in JSON', '[{"token": "aa", "cpus": 1}, {"token": "bb", "cpus": 1}]', undefined, ['aa', 'bb']],
    ['the name from the command line', 'cpus: 1\n', 'given', ['given']],
    ['the same name twice is no contradiction', 'token: given\ncpus: 1\n', 'given', ['given']],
  ]
  for (const [story, text, token, names] of rows) {
    const { documents, problems } = read(text, token)
    t.same(problems, [], story)
    t.same(
      documents.map(document => document.token),
      names,
      story,
    )
    t.notOk('token' in (documents[0]?.body ?? {}), 'the name is not part of what is sent')
  }
})

t.test('what cannot be read says where and why', async t => {
  const rows: [string, string, string | undefined, RegExp][] = [
    ['nothing', '', undefined, /^f.yaml:1: there is no token/],
    ['only comments', '# nothing\n---\n', undefined, /^f.yaml:1: there is no token/],
    ['broken YAML', 'token: hello\nenv: {A: 1]\n', undefined, /^f.yaml:2: /],
    ['a key twice', 'token: hello\ncpus: 1\ncpus: 2\n', undefined, /^f.yaml:3: .*unique/i],
    ['an unknown tag', 'token: hello\ncmd: !shell ls\n', undefined, /^f.yaml:2: .*!shell/],
    ['text', 'hello', undefined, /^f.yaml:1: a token is a map/],
    ['a list of text', '- token: aa\n- bb\n', undefined, /^f.yaml:2: a token is a map/],
    ['no name', 'cpus: 1\n', undefined, /^f.yaml:1: must specify the token name/],
    ['a name that is a number', '\ntoken: 12\n', undefined, /^f.yaml:2: token: .*quotes/],
    ['a name that cannot be', 'cpus: 1\ntoken: a b\n', undefined, /^f.yaml:2: token: .*invalid character/],
    ['two names', 'token: aa\n', 'bb', /^f.yaml:1: token: the command line says bb, the file aa/],
    ['too many aliases', bomb(), undefined, /^f.yaml:1: .*alias/i],
  ]
  for (const [story, text, token, pattern] of rows) {
    const found = complaints(text, token)
    t.equal(found.length, 1, `${story}: ${found}`)
    t.match(found[0], pattern, story)
  }
})

/** Ten levels of ten aliases each. */
function bomb(): string {
  const levels = ['token: hello', `a0: &a0 [${'x, '.repeat(10)}]`]
  for (let level = 1; level < 10; level++)
    levels.push(
      `a${level}: &a${level} [${Array(10)
        .fill(`*a${level - 1}`)
        .join(', ')}]`,
    )
  return levels.join('\n')
}

t.test('what is wrong with a token is known before a Waiter is asked', async t => {
  const head = 'token: hello\n'
  const rows: [string, string, RegExp][] = [
    ['a misspelt key', 'concurency-level: 3\n', /^f.yaml:2: concurency-level: .*did you mean concurrency-level\?$/],
    ['a key of something else', 'replicas: 3\n', /^f.yaml:2: replicas: there is no such key; docs/],
    ['what Waiter writes itself', 'cmd: x\nroot: east\n', /^f.yaml:3: root: Waiter writes this itself/],
    ['a value out of range', 'cpus: -1\n', /^f.yaml:2: cpus must be a positive number/],
    ['a version without quotes', 'version: 1.0\n', /^f.yaml:2: version .* Put it in quotes: "1.0"$/],
    ['a port in env', 'env:\n  A: "1"\n  PORT: 0x1F90\n', /^f.yaml:4: env.PORT: .* "0x1F90"$/],
    ['a flag in metadata', 'metadata: {on: true}\n', /^f.yaml:2: metadata.on: .* "true"$/],
    ['a hostile key', '__proto__: {a: 1}\n', /^f.yaml:2: __proto__: there is no such key/],
  ]
  for (const [story, text, pattern] of rows) {
    const found = complaints(head + text)
    t.equal(found.length, 1, `${story}: ${found}`)
    t.match(found[0], pattern, story)
  }
  t.same(complaints(`${head}cmd: ls\ncpus: 0.1\nversion: "1"\nhttps-redirect: false\nprofile: theirs\n`), [])
})
