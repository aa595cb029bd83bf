import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { chooseClusters } from '../src/config/choose-clusters.ts'
import { parseClusterUrl } from '../src/config/cluster-url.ts'
import { loadConfig } from '../src/config/load-config.ts'

const scratch = mkdtempSync(join(tmpdir(), 'waiter-cli-config-'))
t.teardown(() => rmSync(scratch, { recursive: true, force: true }))

function createPlace(name: string, files: Record<string, unknown> = {}) {
  const workingDirectory = join(scratch, name, 'here')
  const homeDirectory = join(scratch, name, 'home')
  for (const directory of [workingDirectory, homeDirectory]) mkdirSync(directory, { recursive: true })
  for (const [path, content] of Object.entries(files)) {
    const text = typeof content === 'string' ? content : JSON.stringify(content)
    writeFileSync(join(scratch, name, path), text, { mode: 0o600 })
  }
  const errors: string[] = []
  return { workingDirectory, homeDirectory, err: (text: string) => void errors.push(text), errors }
}

t.test('without a configuration: the Waiter of this machine', async t => {
  const config = await loadConfig(undefined, createPlace('none'))
  t.match(config, {
    http: { retries: 2, connectTimeoutMs: 3_050, readTimeoutMs: 20_000 },
    clusters: [{ name: 'local', url: 'http://127.0.0.1:9091', credentials: undefined }],
  })
})

t.test('--config, then here, then home', async t => {
  const clustersOf = (name: string) => ({ clusters: [{ name, url: 'h' }] })
  const files = { 'home/.waiter.json': clustersOf('home'), 'here/other.json': clustersOf('other') }
  const nameOf = async (place: ReturnType<typeof createPlace>, wanted?: string) =>
    (await loadConfig(wanted, place)).clusters[0]?.name
  const place = createPlace('order', files)
  t.equal(await nameOf(place), 'home')
  t.equal(await nameOf(place, 'other.json'), 'other')
  t.equal(await nameOf(createPlace('order', { 'here/.waiter.json': clustersOf('here') })), 'here')
  await t.rejects(nameOf(place, 'missing.json'), { message: /cannot read the configuration .*missing.json/ })
})

t.test('what a configuration says', async t => {
  const place = createPlace('full', {
    'here/.waiter.json': {
      http: {
        retries: 0,
        'connect-timeout': 0.5,
        'read-timeout': 7,
        auth: { type: 'basic', basic: { user: 'alice', pass: 'one' } },
      },
      metrics: { disabled: true, anything: 1 },
      clusters: [
        { name: 'East', url: 'east.example.com/', 'default-for-create': true, 'sync-group': 'all' },
        { name: 'off', url: 'x', disabled: true },
        { name: 'west', url: 'https://west.example.com:1/w/', auth: { type: 'bearer', bearer: { key: 'k' } } },
      ],
      'additional-clusters': [{ name: 'first', url: 'f' }],
    },
  })
  const config = await loadConfig(undefined, place)
  const basic = { kind: 'basic', user: 'alice', pass: 'one' }
  t.same(config.http, { retries: 0, connectTimeoutMs: 500, readTimeoutMs: 7_000 })
  t.same(config.clusters, [
    { name: 'first', url: 'http://f', credentials: basic, isDefaultForCreate: false, syncGroup: undefined },
    { name: 'East', url: 'http://east.example.com', credentials: basic, isDefaultForCreate: true, syncGroup: 'all' },
    {
      name: 'west',
      url: 'https://west.example.com:1/w',
      credentials: { kind: 'bearer', key: 'k' },
      isDefaultForCreate: false,
      syncGroup: undefined,
    },
  ])
  t.same(place.errors, [])
  const names = (wanted: { cluster?: string; url?: string }) =>
    chooseClusters(config, wanted).map(cluster => cluster.name)
  t.same(names({}), ['first', 'East', 'west'])
  t.same(names({ cluster: 'east' }), ['East'])
  t.match(chooseClusters(config, { url: 'h:1' }), [{ name: 'http://h:1', url: 'http://h:1', credentials: basic }])
  t.throws(() => names({ cluster: 'north' }), { code: 'WTR_USAGE', message: /"north".*first, East, west/ })
  t.throws(() => names({ cluster: 'east', url: 'x' }), { code: 'WTR_USAGE' })
  t.throws(() => names({ url: 'ftp://x' }), { code: 'WTR_USAGE', message: /--url must begin with http/ })
  chmodSync(join(place.workingDirectory, '.waiter.json'), 0o644)
  await loadConfig(undefined, place)
  t.match(place.errors, [/chmod 600/], 'a password that others may read')
})

t.test('mistakes are named, passwords are not', async t => {
  const auth = (pass: unknown) => ({ type: 'basic', basic: { user: 'u', pass } })
  const rows: [string, unknown, RegExp][] = [
    ['no JSON', '{\n"http": {"auth": {"pass": "s3cret}}\n', /\.waiter\.json(:\d)?: not valid JSON/],
    ['more than JSON', `{'http': {}}`, /not valid JSON/],
    ['an unknown key', { htpp: {} }, /Unrecognized key: "htpp"/],
    ['one further inside', { clusters: [{ name: 'a', url: 'b', ulr: 's3cret' }] }, /clusters\.0: .*"ulr"/],
    ['a wrong type', { http: { auth: auth(['s3cret']) } }, /http\.auth\.basic\.pass: .*string/],
    ['another kind of proof', { http: { auth: { type: 'ntlm', s3cret: 1 } } }, /http\.auth\.type/],
    ['a colon in a user', { http: { auth: { type: 'basic', basic: { user: 's3cret:', pass: '' } } } }, /colon/],
    ['a negative time', { http: { 'read-timeout': -1 } }, /http\.read-timeout/],
    ['a password in a URL', { clusters: [{ name: 'a', url: 'http://u:s3cret@h' }] }, /url of cluster a must not hold/],
    [
      'two of one name',
      {
        clusters: [
          { name: 'a', url: 'b' },
          { name: 'a', url: 'c' },
        ],
      },
      /two clusters are named a/,
    ],
    ['none', { clusters: [] }, /You must specify at least one cluster/],
    ['none that is on', { clusters: [{ name: 'a', url: 'b', disabled: true }] }, /at least one cluster/],
  ]
  for (const [story, content, pattern] of rows) {
    const place = createPlace(story.replaceAll(' ', '-'), { 'here/.waiter.json': content })
    const error = await loadConfig(undefined, place).then(
      () => t.fail(`${story} passes`),
      (thrown: Error) => thrown,
    )
    t.match((error as Error).message, pattern, story)
    t.notMatch((error as Error).message, /s3cret/, story)
  }
})

t.test('URLs as people write them', async t => {
  t.same(parseClusterUrl('HTTP://Host:80/'), { ok: true, value: 'http://host' })
  t.same(parseClusterUrl('[::1]:9091'), { ok: true, value: 'http://[::1]:9091' })
  for (const bad of ['', 'http://', 'a b', 'h?x=1', 'h#x', 'file:///etc/passwd']) t.notOk(parseClusterUrl(bad).ok, bad)
})
