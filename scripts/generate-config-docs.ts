/**
 * `npm run gen:docs`: configuration schema → docs/configuration.md. With `--check` (part of `npm run gen:check`): fails
 * when the page is stale.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS_SHAPE, type SettingShape } from '@waiter/server'

const TARGET = 'docs/configuration.md'

const INTRODUCTION = `# Configuration

Generated from the schema (\`packages/server/src/config/schema.ts\`) by \`npm run gen:docs\`. Every key is optional; an
unknown one is an error that names its line. Later ones of these win:

1. the defaults below,
2. the YAML file given with \`--config FILE\`,
3. environment variables,
4. the command line (\`--port\`).

\`\`\`yaml
port: 8080
hostname: [waiter.example.com]
scaling: { decision-floor-ms: 50 }
service-description-defaults: { concurrency-level: 10, health-check-url: /healthz }
\`\`\`

**Environment variables.** \`WAITER_\` and the key in capitals, \`_\` for \`-\`, \`__\` between levels:
\`WAITER_PORT=8080\`, \`WAITER_SCALING__DECISION_FLOOR_MS=50\`, \`WAITER_HOSTNAME='[a.example.com, b.example.com]'\`. A
value is taken as it is where the key takes text, else read as YAML; it replaces what the file says for that key. With
\`_FILE\` behind the name, the variable names a file that holds the value (at most 64 KiB), for secrets:
\`WAITER_…_FILE=/run/secrets/…\`. A variable that no key has is an error. Variables that Waiter gives to its instances,
and the ones that Kubernetes makes for services called \`waiter\`, are left alone.

**Looking.** \`GET /settings\` shows the effective values; keys marked _secret_ are hidden there.
`

interface Row {
  readonly key: string
  readonly type: string
  readonly fallback: string
  readonly meaning: string
}

const isCheck = process.argv.includes('--check')
const page = renderPage(SETTINGS_SHAPE)
if (!isCheck) writeFileSync(TARGET, page)
else if (readFileSync(TARGET, 'utf8') !== page) {
  console.error(`${TARGET} does not match the schema: run npm run gen:docs and commit the result`)
  process.exit(1)
}

function renderPage(shape: SettingShape): string {
  const entries = Object.entries(shape.properties ?? {})
  const plain = entries.filter(([, one]) => one.properties === undefined)
  const sections = entries.filter(([, one]) => one.properties !== undefined)
  const parts = [`## Top level\n\n${renderTable(plain.flatMap(([key, one]) => rowsOf(key, one)))}`]
  for (const [key, one] of sections) {
    const rows = Object.entries(one.properties ?? {}).flatMap(([name, inner]) => rowsOf(name, inner))
    parts.push(`## \`${key}\`\n\n${one.description}\n\n${renderTable(rows)}`)
  }
  return `${[INTRODUCTION, ...parts].join('\n').trimEnd()}\n`
}

function rowsOf(key: string, shape: SettingShape): Row[] {
  if (shape.description === undefined) throw new Error(`the key ${key} has no description`)
  if (shape.properties !== undefined) {
    const inner = Object.entries(shape.properties).flatMap(([name, one]) => rowsOf(`${key}.${name}`, one))
    return [{ key, type: 'map', fallback: '', meaning: shape.description }, ...inner]
  }
  const meaning = shape.secret === true ? `_Secret._ ${shape.description}` : shape.description
  return [{ key, type: typeOf(shape), fallback: fallbackOf(shape), meaning }]
}

function typeOf(shape: SettingShape): string {
  if (shape.anyOf !== undefined) return shape.anyOf.map(typeOf).join(' or ')
  const values = shape.const !== undefined ? [shape.const] : shape.enum
  if (values !== undefined) return values.map(value => `\`${value}\``).join(', ')
  if (shape.type === 'integer') return rangeOf(shape)
  if (shape.type === 'array') return typeof shape.items === 'object' ? `list of ${typeOf(shape.items)}` : 'list'
  if (shape.type === 'object') return 'map'
  return shape.type === 'string' ? 'text' : (shape.type ?? 'anything')
}

function rangeOf({ minimum, maximum }: SettingShape): string {
  const hasMaximum = maximum !== undefined && maximum !== Number.MAX_SAFE_INTEGER
  return `whole number ${hasMaximum ? `${minimum} to ${maximum}` : `≥ ${minimum}`}`
}

function fallbackOf(shape: SettingShape): string {
  return shape.default === undefined ? '' : `\`${JSON.stringify(shape.default)}\``
}

function renderTable(rows: readonly Row[]): string {
  const cells = [
    ['key', 'type', 'default', 'meaning'],
    ...rows.map(({ key, type, fallback, meaning }) => [`\`${key}\``, type, fallback, meaning]),
  ].map(row => row.map(cell => cell.replaceAll('|', '\\|')))
  const widths = [0, 1, 2, 3].map(column => Math.max(...cells.map(row => row[column]!.length)))
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`
  const [head, ...body] = cells
  return `${[line(head!), line(widths.map(width => '-'.repeat(width))), ...body.map(line)].join('\n')}\n`
}
