import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type StartedWaiter, startWaiter } from '@waiter/testkit'
import t from 'tap'
import { createCommandLine, HELLO } from './support/command-line.ts'

/** Tokens between two Waiters, by the command line as people run it. */
const [east, west] = (await Promise.all(
  ['east', 'west'].map(name => startWaiter({ config: { 'cluster-config': { name } } })),
)) as [StartedWaiter, StartedWaiter]
t.teardown(() => Promise.all([east.stop(), west.stop()]))
const commandLine = createCommandLine('')
t.teardown(() => commandLine.remove())
const { directory } = commandLine
const run = (...args: string[]) => commandLine.runHere(['token-syncer', ...args])
const both = [east.url, west.url]

async function sync(...args: string[]): Promise<{ code: number; details: Record<string, unknown>; summary: unknown }> {
  const { code, stdout, stderr } = await run('sync-clusters', ...both, ...args)
  if (stdout === '') throw new Error(stderr)
  return { code, ...JSON.parse(stdout) }
}

const put = async (waiter: StartedWaiter, token: string, changes: Record<string, unknown> = {}): Promise<void> => {
  const body = JSON.stringify({ cmd: 'x', cpus: 0.1, mem: 64, version: '1', ...changes })
  const answer = await waiter.request({ method: 'POST', path: `/token?token=${token}`, body })
  if (answer.status !== 200) throw new Error(answer.text)
}
const drop = (waiter: StartedWaiter, token: string) =>
  waiter.request({ method: 'DELETE', path: `/token?token=${token}` })
const read = async (waiter: StartedWaiter, token: string) => {
  const answer = await waiter.request({ path: `/token?token=${token}&include=metadata&include=deleted` })
  return {
    status: answer.status,
    etag: answer.headers.etag,
    body: answer.status === 200 ? JSON.parse(answer.text) : {},
  }
}
const codeOf = (result: Awaited<ReturnType<typeof sync>>, token: string, waiter: StartedWaiter): unknown =>
  (result.details[token] as { 'sync-result': Record<string, { code: string }> } | undefined)?.['sync-result'][
    waiter.url
  ]?.code

t.test('tokens come to be the same everywhere, with their history', async t => {
  await put(east, 'here')
  await put(east, 'here', { version: '2' })
  await put(west, 'there')
  await put(east, 'apart', { metadata: { 'waiter-token-sync-opt-out': 'true' } })
  const dry = await sync('--dry-run')
  t.match(dry.summary, { sync: { updated: 2, unmodified: 1, failed: 0 }, tokens: { total: 3, pending: 0 } })
  t.equal((await read(west, 'here')).status, 404, 'dry is dry')

  const first = await sync()
  t.equal(first.code, 0)
  t.equal(codeOf(first, 'here', west), 'success/sync-update')
  t.equal(codeOf(first, 'there', east), 'success/sync-update')
  t.equal(codeOf(first, 'apart', west), 'success/skip-opt-out')
  t.equal((await read(west, 'apart')).status, 404)
  for (const token of ['here', 'there']) t.same(await read(west, token), await read(east, token), token)
  t.match((await read(west, 'here')).body, { cluster: 'east', root: 'east', previous: { version: '1' } })
  t.match((await sync()).summary, { sync: { updated: 0 }, tokens: { 'previously-synced': 2, selected: 1 } })

  await put(west, 'there', { version: '7' })
  t.equal(codeOf(await sync(), 'there', east), 'success/sync-update')
  t.match((await read(east, 'there')).body, { version: '7', root: 'west' })
})

t.test('deletions go round, and are forgotten when all have heard', async t => {
  await drop(west, 'there')
  const heard = await sync()
  t.equal(codeOf(heard, 'there', east), 'success/soft-delete')
  t.match((await read(east, 'there')).body, { deleted: true })
  const forgotten = await sync()
  t.equal(codeOf(forgotten, 'there', east), 'success/hard-delete')
  for (const waiter of [east, west]) t.equal((await read(waiter, 'there')).status, 404)
})

t.test('a cluster that cannot be asked, and other mistakes', async t => {
  const down = await run('sync-clusters', east.url, 'http://127.0.0.1:1')
  t.match(down, { code: 1, stdout: '', stderr: /connection error/ }, 'nothing is decided without it')
  t.match(await run('sync-clusters', east.url), { code: 2, stderr: /at least two clusters/ })
  t.match(await run('sync-clusters', east.url, east.url), { code: 2, stderr: /named twice/ })
  t.match(await sync('--limit', '1'), { summary: { tokens: { selected: 1 } } })
})

t.test('backup, clean-up and restore', async t => {
  await put(west, 'kept')
  await put(west, 'lost', { env: { A: 'b' } })
  const before = await read(west, 'lost')
  t.match(await run('backup-tokens', 'all.json', west.url), { code: 0, stdout: /^3 tokens/ })
  const file = join(directory, 'all.json')
  t.match(JSON.parse(readFileSync(file, 'utf8')), {
    lost: { 'token-etag': before.etag, description: { env: { A: 'b' } } },
  })
  await drop(west, 'lost')
  t.match(await run('cleanup-tokens', west.url), { code: 0, stdout: '' }, 'deleted a moment ago')
  const later = new Date(Date.now() + 60_000).toISOString()
  t.match(await run('cleanup-tokens', west.url, '--before', later), { code: 0, stdout: 'lost: forgotten\n' })
  t.equal((await read(west, 'lost')).status, 404)
  t.match(await run('cleanup-tokens', west.url, '--before', 'soon'), { code: 2 })

  await put(west, 'kept', { version: '9' })
  const restored = await run('restore-tokens', 'all.json', west.url)
  t.match(restored, { code: 0, stdout: /here: kept\nkept: kept\nlost: restored\n/ })
  t.same(await read(west, 'lost'), before, 'as it was')
  t.match(await run('restore-tokens', 'all.json', west.url, '--force'), { code: 0, stdout: /kept: restored/ })
  t.equal((await read(west, 'kept')).body.version, '1')
  writeFileSync(file, '{"x1": 7}')
  t.match(await run('restore-tokens', 'all.json', west.url), { code: 1, stderr: /x1 has no description/ })

  t.match(await run('sanitize-tokens', west.url, '-r', 'l.*'), { code: 0, stdout: 'lost: written again\n' })
  t.same((await read(west, 'lost')).etag, before.etag, 'nothing of it changes')
  t.match(await run('sanitize-tokens', west.url, '-r', '('), { code: 2, stderr: /not a supported pattern/ })
})

t.test('a token is asked for through every cluster', async t => {
  await put(east, 'pinged', { ...HELLO, name: 'pinged' })
  const half = await run('ping-token', 'pinged', ...both, '-q', '30000')
  t.match(half, { code: 1, stdout: new RegExp(`${east.url}: successful\\n${west.url}: failed`) })
  await sync()
  t.match(await run('ping-token', 'pinged', ...both, '-q', '30000'), { code: 0 })
})
