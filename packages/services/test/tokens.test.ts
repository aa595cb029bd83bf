import { createHash } from 'node:crypto'
import {
  checkTokenName,
  chooseTokenName,
  chooseTokenNameForPost,
  chooseTokenNameForRead,
  createSimpleEntitlements,
  decideTokenDelete,
  findTokenKeyProblems,
  parseTokenBody,
  parseTokenListingQuery,
  readToken,
  renderToken,
  renderTokenListing,
  type TokenDeleteInput,
  type TokenRecord,
  tokenEtag,
  tokenVersion,
} from '@waiter/services'
import fc from 'fast-check'
import t from 'tap'
import { complete, config, post, posted, postRefused, record, root } from './fixtures.ts'

const owned = record(complete)
const entitlements = createSimpleEntitlements([root])

t.test('T1 token names', async t => {
  for (const name of ['ab', 'A1', 'my-token', 'my_token', 'a$b', 'app.example.com', 'constructor']) {
    t.same(checkTokenName(name, config), { ok: true, value: name }, name)
  }
  const rows: [string | undefined, number, string][] = [
    [undefined, 400, 'Must provide the token'],
    ['', 400, 'Must provide the token'],
    ['a', 400, 'Token must match pattern'],
    ['1a', 400, 'Token must match pattern'],
    ['__proto__', 400, 'Token must match pattern'],
    ['^SERVICE-ID#x', 400, 'Token contains invalid character: "^"'],
    ['a b', 400, 'Token contains invalid character: " "'],
    ['ab\n', 400, 'Token contains invalid character: "\n"'],
    ['a😀', 400, 'Token contains invalid character: "😀"'],
    ['a'.repeat(254), 400, 'Token must have at most 253 characters'],
    ['Waiter.example.com', 403, 'Token name is reserved'],
  ]
  for (const [name, status, message] of rows) {
    t.match(checkTokenName(name, config), { ok: false, error: { status, message } }, `${name}`.slice(0, 20))
  }
  t.match(checkTokenName('ab^', config), { error: { details: { 'char-index': 2, 'char-codepoint': 94 } } })
})

t.test('T2 where the name comes from', async t => {
  const sources = { queryToken: 'query', headerToken: 'header', host: 'host.example.com', config }
  t.equal(chooseTokenName(sources), 'query')
  t.equal(chooseTokenName({ ...sources, queryToken: undefined }), 'header')
  t.equal(chooseTokenName({ ...sources, queryToken: '', headerToken: ' ' }), 'host.example.com')
  t.equal(chooseTokenName({ host: 'waiter.example.com', config }), undefined)
  t.match(chooseTokenNameForRead({ config }), { error: { status: 400, message: "Couldn't find token in request" } })
  t.same(chooseTokenNameForRead(sources), { ok: true, value: 'query' })
  t.match(chooseTokenNameForPost({ token: 'body' }, { ...sources, queryToken: undefined }), { ok: true, value: 'body' })
  t.match(chooseTokenNameForPost({ token: 'body' }, sources), {
    ok: false,
    error: { status: 400, message: /not in both/ },
  })
  t.match(chooseTokenNameForPost({ token: 7 }, { config }), { ok: false, error: { status: 400 } })
  t.match(chooseTokenNameForPost({}, sources), { ok: true, value: 'query' })
})

t.test('T3 bodies', async t => {
  t.same(parseTokenBody('{"cpus":1}'), { ok: true, value: { cpus: 1 } })
  const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
  const many = JSON.stringify(Object.fromEntries(Array.from({ length: 2049 }, (_, index) => [`k${index}`, 0])))
  t.ok(parseTokenBody(nested(16)).ok)
  const texts = [
    '',
    '{',
    'null',
    '[]',
    '"x"',
    '7',
    nested(17),
    many,
    `{"cmd":"${'x'.repeat(65_536)}"}`,
    '['.repeat(60_000),
  ]
  for (const text of texts) {
    t.match(
      parseTokenBody(text),
      { ok: false, error: { status: 400, message: 'Invalid JSON payload' } },
      text.slice(0, 20),
    )
  }
})

t.test('T4 the etag', async t => {
  const token: TokenRecord = {
    ...owned,
    env: { A: 'x"y', B: '2' },
    'allowed-params': ['P', 'Q'],
    'https-redirect': true,
    'health-check-proto': null,
    maintenance: { message: 'm' },
    'cors-rules': [{ methods: ['GET'], 'origin-regex': 'o' }],
    previous: { cmd: 'old' },
  }
  const expected = [
    'allowed-params["P" "Q"]',
    'clusterwaiter',
    `cmd${complete.cmd}`,
    'cors-rules[{"methods" ["GET"], "origin-regex" "o"}]',
    'cpus0.5',
    'env{"A" "x\\"y", "B" "2"}',
    'health-check-proto',
    'https-redirecttrue',
    'last-update-time1700000000000',
    'last-update-useralice',
    'maintenance{"message" "m"}',
    'mem256',
    'owneralice',
    'rootwaiter',
    'run-as-useralice',
    'versionv1',
  ].join('')
  t.equal(tokenEtag(token), `E-${createHash('md5').update(expected).digest('hex')}`)
  t.equal(tokenVersion(undefined), undefined)
  t.equal(tokenVersion({ ...token, deleted: true }), undefined)
  t.equal(tokenVersion(token), tokenEtag(token))
})

t.test('W1 creating', async t => {
  const decision = posted({ body: { ...complete, 'allowed-params': ['B', 'A'] } })
  t.match(decision, {
    kind: 'created',
    message: 'Successfully created my-token',
    operationResult: 'token-created',
    body: { message: 'Successfully created my-token', 'service-description': complete },
    record: {
      ...complete,
      'allowed-params': ['A', 'B'],
      cluster: 'waiter',
      'last-update-time': 1_800_000_000_000,
      'last-update-user': 'alice',
      owner: 'alice',
      root: 'waiter',
    },
  })
  t.notOk('previous' in decision.record)
  t.equal(decision.etag, tokenEtag(decision.record))
  const rows: [string, Record<string, unknown>, string][] = [
    ['for somebody else', { ...complete, owner: 'bob' }, 'Cannot create token as provided owner: bob'],
    ['as somebody else', { ...complete, 'run-as-user': 'bob' }, "Authenticated user 'alice' cannot run as user 'bob'"],
  ]
  for (const [title, body, message] of rows) t.match(postRefused({ body }), { status: 403, message }, title)
  t.equal(posted({ body: { ...complete, 'run-as-user': '*' } }).kind, 'created')
  t.equal(posted({ body: { ...complete, owner: 'bob', 'run-as-user': 'bob' }, requester: root }).record.owner, 'bob')
})

t.test('W1 the cluster follows the host', async t => {
  const using = { ...config, token: { ...config.token, clusterByHost: { 'east.example.com': 'east' } } }
  t.match(posted({ config: using, host: 'EAST.example.com:80' }).record, { cluster: 'east', root: 'waiter' })
  t.match(posted({ config: using, host: 'constructor' }).record, { cluster: 'waiter' })
})

t.test('W2 changing', async t => {
  const existing = record({ ...complete, editor: 'ed' })
  const changed = { ...complete, editor: 'ed', cpus: 2 }
  t.equal(posted({ existing, body: changed }).message, 'Successfully updated my-token')
  t.equal(posted({ existing, body: changed, requester: root }).record.owner, 'alice', 'the owner stays')
  t.match(postRefused({ existing, body: changed, requester: 'mallory' }), {
    status: 403,
    message: /^Cannot update token \(/,
  })
  t.match(posted({ existing, body: changed, requester: 'ed' }).record, { cpus: 2, 'last-update-user': 'ed' })
  const forbidden: [string, Record<string, unknown>][] = [
    ['editor', { ...changed, editor: 'mallory' }],
    ['editor', { ...complete, cpus: 2 }],
    ['owner', { ...changed, owner: 'ed' }],
    ['run-as-user', { ...changed, 'run-as-user': 'ed' }],
  ]
  for (const [parameter, body] of forbidden) {
    const refusal = { status: 403, message: `Not allowed to edit parameter ${parameter}` }
    t.match(postRefused({ existing, body, requester: 'ed' }), refusal, parameter)
  }
})

t.test('W3 keys', async t => {
  const rows: [string, Record<string, unknown>, number, string][] = [
    ['unknown', { ...complete, foo: 1, bar: 2 }, 400, 'Unsupported key(s) in token: ["foo", "bar"]'],
    ['hostile', JSON.parse('{"cmd":"x","__proto__":{"a":1}}'), 400, 'Unsupported key(s) in token: ["__proto__"]'],
    ['none', {}, 400, 'No parameters provided for my-token'],
    ['only the name', { token: 'my-token' }, 400, 'No parameters provided for my-token'],
    ['time', { ...complete, 'last-update-time': 1 }, 400, 'Cannot modify last-update-time token metadata'],
    ['user', { ...complete, 'last-update-user': 'x' }, 400, 'Cannot modify last-update-user token metadata'],
    ['root', { ...complete, root: 'x' }, 400, 'Cannot modify root token metadata'],
    ['previous', { ...complete, previous: {} }, 400, 'Cannot modify previous token metadata'],
    ['deleted', { ...complete, deleted: true }, 400, 'Cannot modify deleted token metadata'],
  ]
  for (const [title, body, status, message] of rows) t.match(postRefused({ body }), { status, message }, title)
  t.match(postRefused({ updateMode: 'force' }), { status: 400, message: 'Invalid update-mode' })
  t.equal(posted({ body: { ...complete, cluster: 'elsewhere' } }).record.cluster, 'waiter', 'cluster is computed')
})

t.test('W4 everything that is wrong comes at once', async t => {
  const error = postRefused({
    body: {
      cpus: -1,
      'stale-timeout-mins': 999,
      'cors-rules': [{ 'origin-regex': '(' }],
      maintenance: { message: '' },
    },
  })
  t.equal(error.status, 400)
  t.same(
    error.message.split('\n').map(line => line.split(' ').slice(0, 2).join(' ')),
    ['Validation failed', 'cpus must', 'cors-rules[0].origin-regex is', 'maintenance must', 'stale-timeout-mins must'],
  )
  t.match(error.details, { 'friendly-error-message': /^cpus must/, issue: { cpus: /positive/ } })
})

t.test('W4 user metadata', async t => {
  const good: Record<string, unknown[]> = {
    'cors-rules': [[], [{ 'origin-regex': '.*', 'target-path-regex': '/a.*', methods: ['GET'] }]],
    editor: ['ed'],
    'fallback-period-secs': [0, 86_400],
    'https-redirect': [true, false],
    maintenance: [{ message: 'm'.repeat(512) }],
    'queue-timeout-ms': [0, 3_600_000],
    'service-mapping': ['default', 'exclusive', 'legacy'],
    'stale-timeout-mins': [0, 240],
  }
  const bad: Record<string, unknown[]> = {
    'cors-rules': [
      {},
      [{}],
      ['x'],
      [{ 'origin-regex': '(' }],
      [{ 'origin-regex': 'a', methods: [] }],
      [{ 'origin-regex': 'a', methods: ['get'] }],
      [{ 'origin-regex': 'a', x: 1 }],
      [{ 'origin-regex': 'a', 'target-path-regex': 1 }],
    ],
    editor: ['', 1],
    'fallback-period-secs': [-1, 86_401, '1'],
    'https-redirect': ['true'],
    maintenance: [{}, { message: '' }, { message: 'm'.repeat(513) }, { message: 'a', x: 1 }, 'down'],
    owner: [''],
    'queue-timeout-ms': [-1, 3_600_001],
    'service-mapping': ['shared'],
    'stale-timeout-mins': [-1, 241],
  }
  for (const [key, values] of Object.entries(good)) {
    for (const value of values)
      t.ok(post({ body: { ...complete, [key]: value } }).ok, `${key} ${JSON.stringify(value)}`.slice(0, 50))
  }
  for (const [key, values] of Object.entries(bad)) {
    for (const value of values) {
      const { message } = postRefused({ body: { ...complete, [key]: value } })
      t.ok(message.startsWith(`Validation failed for token:\n${key}`), `${key} ${JSON.stringify(value)}`.slice(0, 50))
    }
  }
})

t.test('W5 if-match', async t => {
  const body = { ...complete, cpus: 2 }
  const etag = tokenEtag(owned)
  for (const ifMatch of [etag, `"${etag}"`]) t.equal(posted({ existing: owned, body, ifMatch }).kind, 'updated')
  const stale = { status: 412, message: 'Cannot modify stale token' }
  t.match(postRefused({ existing: owned, body, ifMatch: 'E-old' }), stale)
  t.match(postRefused({ body, ifMatch: etag }), stale, 'an absent token has no version')
  t.match(postRefused({ existing: owned, body, ifMatch: 'E-old', requester: 'mallory' }), { status: 403 })
  t.equal(posted({ body, ifMatch: '' }).kind, 'created', 'an empty one means that there is none')
  t.equal(posted({ existing: { ...owned, deleted: true }, body, ifMatch: '' }).kind, 'created', 'or that it is deleted')
  t.match(postRefused({ existing: owned, body, ifMatch: '' }), stale)
})

t.test('W14 keys judged alone', async t => {
  t.same(findTokenKeyProblems({ ...complete, owner: 'alice', 'https-redirect': true }), [])
  for (const [key, nearest] of [
    ['concurrency_level', 'concurrency-level'],
    ['healthCheckUrl', 'health-check-url'],
    ['memm', 'mem'],
    ['mme', undefined],
    ['idle-timeout-min', 'idle-timeout-mins'],
    ['replicas', undefined],
    ['__proto__', undefined],
    ['x'.repeat(5_000), undefined],
  ] as const)
    t.same(findTokenKeyProblems(Object.fromEntries([[key, 1]])), [{ kind: 'unknown', key, nearest }], key.slice(0, 20))
  t.same(findTokenKeyProblems({ root: 'x', previous: {} }), [
    { kind: 'system', key: 'root' },
    { kind: 'system', key: 'previous' },
  ])
  t.match(findTokenKeyProblems({ cpus: -1, 'stale-timeout-mins': 'soon', profile: 'known elsewhere' }), [
    { kind: 'invalid', key: 'cpus', message: /^cpus must be a positive number/ },
    { kind: 'invalid', key: 'stale-timeout-mins', message: /^stale-timeout-mins/ },
  ])
})

t.test('W6 full replacement and history', async t => {
  let existing: TokenRecord | undefined
  for (let version = 0; version < 9; version++) {
    existing = posted({ existing, body: { ...complete, version: `v${version}` }, nowMs: version }).record
  }
  const versions: unknown[] = []
  for (let at: Partial<TokenRecord> | undefined = existing; at !== undefined; at = at.previous)
    versions.push(at.version)
  t.same(versions, ['v8', 'v7', 'v6', 'v5', 'v4', 'v3'])
  const replaced = posted({ existing: owned, body: { cmd: 'only' } }).record
  t.equal(replaced.cpus, undefined)
  t.match(replaced.previous, complete)
})

t.test('W7 no change', async t => {
  const existing = posted({ body: { ...complete, env: { A: '1', B: '2' } } }).record
  const decision = posted({ existing, body: { env: { B: '2', A: '1' }, ...complete }, nowMs: 1_900_000_000_000 })
  t.match(decision, { kind: 'no-op', message: 'No changes detected for my-token', operationResult: 'token-no-op' })
  t.equal(decision.etag, tokenEtag(existing))
  t.equal(decision.record, existing)
})

t.test('W8 re-creating a deleted token', async t => {
  const existing = record({ ...complete, deleted: true, root: 'east' })
  const decision = posted({ existing, body: complete, requester: 'alice' })
  t.match(decision, { kind: 'created', record: { root: 'east', previous: { deleted: true } } })
  t.notOk(decision.record.deleted)
  t.match(posted({ existing, body: { ...complete, 'run-as-user': 'bob' }, requester: 'bob' }).record, { owner: 'bob' })
  t.match(postRefused({ existing, body: { 'https-redirect': true } }), {
    message: 'No parameters provided for my-token',
  })
})

t.test('W9 admin mode', async t => {
  const admin = { updateMode: 'admin', requester: root }
  t.match(postRefused({ ...admin, requester: 'alice' }), { status: 403, message: 'Cannot administer token' })
  t.match(postRefused({ ...admin, existing: owned }), { status: 400, message: /if-match/ })
  const body = {
    ...complete,
    owner: 'zoe',
    'run-as-user': 'yan',
    cluster: 'east',
    root: 'west',
    'last-update-time': '2026-01-02T03:04:05.678Z',
    'last-update-user': 'xi',
    previous: { cmd: 'old', 'last-update-time': '2025-01-01T00:00:00Z', previous: { cmd: 'older', junk: 1 } },
  }
  const decision = posted({ ...admin, existing: owned, body, ifMatch: tokenEtag(owned) })
  t.match(decision.record, {
    owner: 'zoe',
    cluster: 'east',
    root: 'west',
    'last-update-time': Date.parse('2026-01-02T03:04:05.678Z'),
    'last-update-user': 'xi',
    previous: { cmd: 'old', 'last-update-time': Date.parse('2025-01-01T00:00:00Z'), previous: { cmd: 'older' } },
  })
  t.notOk('junk' in decision.record.previous!.previous!)
  const deletion = posted({ ...admin, body: { deleted: true, owner: 'zoe', cpus: -1, cmd: 'x' } })
  t.match(deletion.record, { deleted: true, owner: 'zoe', cmd: 'x' }, 'a deletion is not validated')
  t.notOk('cpus' in deletion.record)
  for (const bad of [
    { deleted: 1 },
    { previous: [] },
    { 'last-update-time': 'now' },
    { root: '' },
    { previous: { root: 1 } },
  ]) {
    t.match(postRefused({ ...admin, body: { ...complete, ...bad } }), { status: 400 }, JSON.stringify(bad))
  }
  const hostile = JSON.parse(
    '{"cmd":"x","previous":{"env":{"__proto__":{"polluted":1},"A":"1"},"__proto__":{"cmd":"y"}}}',
  )
  const { previous } = posted({ ...admin, body: hostile }).record
  t.equal(Object.getPrototypeOf(previous!.env), Object.prototype)
  t.same(Object.keys(previous!.env!), ['A'])
})

t.test('W10 the owner must be able to run the token', async t => {
  t.match(postRefused({ existing: owned, body: { ...complete, 'run-as-user': 'bob' } }), {
    status: 403,
    message: "Owner 'alice' cannot run as user 'bob'",
  })
  t.match(postRefused({ body: { ...complete, owner: 'bob' }, requester: root }), {
    status: 403,
    message: "Owner 'bob' cannot run as user 'alice'",
  })
  t.equal(posted({ existing: owned, body: { ...complete, 'run-as-user': '*' } }).kind, 'updated')
})

t.test('W11 the limit per owner', async t => {
  const countLiveTokens = (owner: string): number => (owner === 'alice' ? 1000 : 0)
  t.match(postRefused({ countLiveTokens }), {
    status: 403,
    message: /^You have reached the limit of number of tokens allowed/,
  })
  t.equal(posted({ countLiveTokens: () => 999 }).kind, 'created')
  t.equal(posted({ countLiveTokens, existing: owned, body: { ...complete, cpus: 3 } }).kind, 'updated')
  t.equal(
    posted({ countLiveTokens, updateMode: 'admin', requester: root, body: { ...complete, owner: 'alice' } }).kind,
    'created',
  )
})

t.test('W12 parameters that need others', async t => {
  const { cmd: _cmd, ...partial } = complete
  const open = { ...complete, authentication: 'disabled', 'permitted-user': '*' }
  const rows: [string, Record<string, unknown>, RegExp | undefined][] = [
    ['a public token', open, undefined],
    ['a public token for one user', { ...open, 'permitted-user': 'bob' }, /must specify permitted-user as \*/],
    [
      'a public token that does not say',
      { ...complete, authentication: 'disabled' },
      /must specify permitted-user as \*/,
    ],
    [
      'an incomplete public token',
      { ...partial, authentication: 'disabled', 'permitted-user': '*' },
      /all required parameters: cmd is missing/,
    ],
    ['a public token for the requester', { ...open, 'run-as-user': '*' }, /concrete run-as-user/],
    ['an interstitial', { ...complete, 'interstitial-secs': 5 }, undefined],
    [
      'an incomplete interstitial',
      { ...partial, 'interstitial-secs': 5 },
      /interstitial-secs must specify all required parameters: cmd is missing/,
    ],
    ['an exclusive token', { ...complete, 'service-mapping': 'exclusive' }, undefined],
    [
      'an exclusive token that sets the variable',
      { ...complete, 'service-mapping': 'exclusive', env: { WAITER_CONFIG_TOKEN: 'x' } },
      /cannot set WAITER_CONFIG_TOKEN/,
    ],
    ['a namespace for anybody', { ...complete, 'run-as-user': '*', namespace: 'bob' }, /Cannot use run-as-requester/],
    ['any namespace', { ...complete, 'run-as-user': '*', namespace: '*' }, undefined],
  ]
  for (const [title, body, message] of rows) {
    if (message === undefined) t.equal(posted({ body }).kind, 'created', title)
    else t.match(postRefused({ body }), { status: 400, message }, title)
  }
})

t.test('W13 hostile bodies never throw and never touch a prototype', async t => {
  const keys = fc.constantFrom(
    ...Object.keys(complete),
    'env',
    'metadata',
    'cors-rules',
    'maintenance',
    'previous',
    '__proto__',
    'constructor',
    'deleted',
    'last-update-time',
    'owner',
    'allowed-params',
    'profile',
    'authentication',
  )
  const values = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('x', 1, true, '*', { A: 'x' }, [{ 'origin-regex': '(a|b)*' }], { message: 'm' }),
    fc.constant(JSON.parse('{"__proto__":{"polluted":true},"env":{"__proto__":"x"}}')),
  )
  const bodies = fc
    .tuple(fc.boolean(), fc.array(fc.tuple(keys, values), { maxLength: 10 }))
    .map(([isBased, entries]) => ({
      ...(isBased ? complete : {}),
      ...Object.fromEntries(isBased ? entries.slice(0, 1) : entries),
    }))
  const updateModes = fc.constantFrom(undefined, 'admin')
  const existings = fc.constantFrom(undefined, owned, record({ ...complete, deleted: true }))
  let accepted = 0
  fc.assert(
    fc.property(bodies, updateModes, existings, (body, updateMode, existing) => {
      const parsed = parseTokenBody(JSON.stringify(body))
      if (!parsed.ok) return parsed.error.status === 400
      const ifMatch = existing === undefined ? undefined : tokenEtag(existing)
      const result = post({ body: parsed.value, updateMode, existing, ifMatch, requester: root })
      if (!result.ok) return result.error.status >= 400 && result.error.status < 500
      accepted++
      const { record: stored } = result.value
      const again = JSON.parse(JSON.stringify(stored)) as TokenRecord
      return Object.getPrototypeOf(stored) === Object.prototype && tokenEtag(again) === result.value.etag
    }),
    { seed: 41, numRuns: 3000 },
  )
  t.ok(accepted > 50, `${accepted} bodies were accepted`)
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

const remove = (input: Partial<TokenDeleteInput>): ReturnType<typeof decideTokenDelete> =>
  decideTokenDelete({
    token: 'my-token',
    existing: owned,
    isHardDelete: false,
    requester: 'alice',
    nowMs: 5,
    entitlements,
    config,
    ...input,
  })

t.test('D1 soft deletion', async t => {
  const decision = remove({})
  t.match(decision, {
    ok: true,
    value: {
      kind: 'soft-deleted',
      body: { delete: 'my-token', 'hard-delete': false, success: true },
      operationResult: 'token-deleted',
      record: { deleted: true, 'last-update-time': 5, 'last-update-user': 'alice', previous: complete },
    },
  })
  t.match(remove({ requester: 'bob' }), { error: { status: 403, message: 'User not allowed to delete token' } })
  t.match(remove({ existing: undefined }), { error: { status: 404, message: 'Token my-token does not exist' } })
  t.match(remove({ existing: { ...owned, deleted: true } }), { error: { status: 404 } })
  t.match(remove({ ifMatch: 'E-old' }), { error: { status: 412 } })
  t.ok(remove({ ifMatch: tokenEtag(owned) }).ok)
})

t.test('D2 hard deletion', async t => {
  const hard = { isHardDelete: true, requester: root }
  t.match(remove({ ...hard, requester: 'alice' }), { error: { status: 403, message: 'Cannot hard-delete token' } })
  t.match(remove(hard), { error: { status: 400, message: /if-match/ } })
  t.match(remove({ ...hard, ifMatch: 'E-old' }), { error: { status: 412 } })
  t.match(remove({ ...hard, ifMatch: tokenEtag(owned) }), {
    value: { kind: 'hard-deleted', body: { 'hard-delete': true } },
  })
  t.ok(remove({ ...hard, existing: { ...owned, deleted: true } }).ok)
  t.match(remove({ ...hard, existing: undefined }), { error: { status: 404 } })
})

t.test('G1 what GET shows', async t => {
  const token = record({
    ...complete,
    'queue-timeout-ms': 5,
    previous: { cmd: 'old', 'last-update-time': 0, previous: { cmd: 'older' } },
  })
  t.same(renderToken(token, { metadata: false }), { ...complete, owner: 'alice', 'queue-timeout-ms': 5 })
  const full = renderToken(token, { metadata: true })
  t.same(full, {
    ...complete,
    'queue-timeout-ms': 5,
    owner: 'alice',
    cluster: 'waiter',
    'last-update-time': '2023-11-14T22:13:20.000Z',
    'last-update-user': 'alice',
    root: 'waiter',
    previous: {
      cmd: 'old',
      'last-update-time': '1970-01-01T00:00:00.000Z',
      previous: { cmd: 'older', previous: {} },
    },
  })
  t.same(Object.keys(full), Object.keys(full).sort())
})

t.test('G2 deleted tokens', async t => {
  const gone = { ...owned, deleted: true }
  const none = { metadata: false, deleted: false }
  t.match(readToken('x', undefined, none), { error: { status: 404, message: "Couldn't find token x" } })
  t.match(readToken('x', gone, none), { error: { status: 404 } })
  t.match(readToken('x', gone, { metadata: true, deleted: true }), { ok: true, value: { body: { deleted: true } } })
  t.match(readToken('x', owned, none), { ok: true, value: { etag: tokenEtag(owned) } })
})

const tokens: readonly (readonly [string, TokenRecord])[] = [
  ['b-token', record({ ...complete, name: 'shop', env: { STAGE: 'prod' }, maintenance: { message: 'm' } })],
  ['a-token', record({ cmd: 'x', name: 'shop-2', owner: 'bob', 'allowed-params': ['P'], metadata: { team: 'blue' } })],
  ['c-token', record({ ...complete, deleted: true })],
  ['d-token', record({ ...complete, cpus: 1, 'run-as-user': '*', 'permitted-user': '*' })],
]

const listing = (query: Record<string, string[]>) => {
  const parsed = parseTokenListingQuery(new Map(Object.entries(query)))
  if (!parsed.ok) throw new Error(parsed.error.message)
  return renderTokenListing(tokens, parsed.value, { entitlements, config })
}

t.test('G3 listing and filters', async t => {
  const rows: [string, Record<string, string[]>, string[]][] = [
    ['everything that lives, by name', {}, ['a-token', 'b-token', 'd-token']],
    ['deleted ones too', { include: ['deleted'] }, ['a-token', 'b-token', 'c-token', 'd-token']],
    ['by owner', { owner: ['bob', 'zoe'] }, ['a-token']],
    ['in maintenance', { maintenance: ['true'] }, ['b-token']],
    ['not in maintenance', { maintenance: ['false'] }, ['a-token', 'd-token']],
    ['manageable', { 'can-manage-as-user': ['bob'] }, ['a-token']],
    ['run as requester', { 'run-as-requester': ['true'] }, ['a-token', 'd-token']],
    ['parameterised', { 'requires-parameters': ['true'] }, ['a-token']],
    ['by pattern', { name: ['shop.*'] }, ['a-token', 'b-token']],
    ['by whole text', { name: ['shop'] }, ['b-token']],
    ['nested', { 'env.STAGE': ['prod'] }, ['b-token']],
    ['nested metadata', { 'metadata.team': ['blue', 'red'] }, ['a-token']],
    ['a literal star', { 'permitted-user': ['*'] }, ['d-token']],
    ['a number', { cpus: ['0.5'] }, ['b-token']],
    ['nothing inherited', { 'env.constructor': ['.*'] }, []],
    ['a broken pattern is only text', { name: ['('] }, []],
  ]
  for (const [title, query, names] of rows)
    t.same(
      listing(query).map(entry => entry.token),
      names,
      title,
    )
  t.same(listing({ owner: ['bob'] }), [
    { maintenance: false, owner: 'bob', 'reference-type->reference-name': {}, token: 'a-token' },
  ])
  t.match(listing({ include: ['metadata', 'cluster', 'deleted'], parameters: ['cmd', 'env.STAGE'] })[2], {
    deleted: true,
    etag: null,
    cluster: 'waiter',
    'last-update-time': '2023-11-14T22:13:20.000Z',
    parameters: { cmd: complete.cmd },
  })
  const bad: Record<string, string[]>[] = [
    { maintenance: ['yes'] },
    { colour: ['x'] },
    { 'constructor.x': ['x'] },
    { name: Array(65).fill('x') },
  ]
  for (const query of bad) {
    t.match(parseTokenListingQuery(new Map(Object.entries(query))), { ok: false, error: { status: 400 } })
  }
})

t.test('G4 service ids in listings', async t => {
  const entries = listing({ include: ['service-id'] })
  t.same(
    entries.map(entry => typeof entry['service-id']),
    ['undefined', 'string', 'undefined'],
  )
})
