// The layer table of docs/architecture.md, as rules. `npm run layers` also fails when nothing was cruised.
const PURE = 'base|services|slots|scaling|raft-ts|gossip'
const SHELLS = 'proxy|schedulers|store|control|router'
const src = names => `^packages/(${names})/src`

module.exports = {
  forbidden: [
    {
      name: 'pure-knows-no-platform',
      comment: 'Pure packages take time, chance and input as parameters: no Node API, no npm package.',
      severity: 'error',
      from: { path: src(PURE), pathNot: '^packages/(raft-ts|gossip)/src/node/' },
      to: { dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer'] },
    },
    {
      name: 'base-stands-alone',
      severity: 'error',
      from: { path: src('base') },
      to: { path: '^packages/(?!base/)' },
    },
    {
      name: 'pure-imports-base-only',
      comment: 'Consensus, gossip and services know nothing of each other.',
      severity: 'error',
      from: { path: src('services|raft-ts|gossip') },
      to: { path: '^packages/(?!base/)', pathNot: '^packages/$1/' },
    },
    {
      name: 'slots-and-scaling-import-base-and-services',
      severity: 'error',
      from: { path: src('slots|scaling') },
      to: { path: '^packages/(?!base/|services/)', pathNot: '^packages/$1/' },
    },
    {
      name: 'shells-meet-only-through-ports',
      comment: 'A shell may name a type of a sister shell (a port); only the roots bring implementations together.',
      severity: 'error',
      from: { path: src(SHELLS) },
      to: {
        path: `^packages/(${SHELLS})/`,
        pathNot: '^packages/$1/|^packages/store/src/port\\.ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'nobody-imports-a-root',
      comment: '`waiter up` starts the server: the command line may name its entry, and nothing else of it.',
      severity: 'error',
      from: { path: '^packages/([^/]+)/src' },
      to: { path: '^packages/(server|cli|dashboard)/', pathNot: '^packages/$1/|^packages/server/src/index\\.ts$' },
    },
    {
      name: 'only-the-command-line-imports-the-server',
      severity: 'error',
      from: { path: '^packages/', pathNot: '^packages/(server|cli)/|/test/' },
      to: { path: '^packages/server/' },
    },
    {
      name: 'the-command-line-speaks-http',
      comment: 'It knows what tokens are, and snapshot files; of a Waiter it knows the REST API.',
      severity: 'error',
      from: { path: src('cli') },
      to: { path: '^packages/(?!cli/|base/|services/|server/)', pathNot: '^packages/store/src/port\\.ts$' },
    },
    {
      name: 'production-knows-no-test-code',
      severity: 'error',
      from: { path: '^packages/([^/]+)/src', pathNot: '^packages/testkit/' },
      to: { path: '^packages/testkit/|/test/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'everything-resolves', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/\\.types/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.js'],
    },
  },
}
