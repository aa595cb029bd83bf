import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { echo, pattern, TestServer } from './support/sockets.ts'

const run = promisify(execFile)
const TIMEOUT_MS = 30_000

/** What a tool says of itself; empty when it is not installed. */
function versionOf(tool: string): string {
  try {
    return execFileSync(tool, ['--version'], { encoding: 'utf8', timeout: TIMEOUT_MS })
  } catch {
    return ''
  }
}

const server = new TestServer(echo)
const folder = mkdtempSync(join(tmpdir(), 'h2-tools-'))
t.before(() => server.listen())
t.teardown(async () => {
  rmSync(folder, { recursive: true })
  await server.close()
})

// A machine without a tool checks what it has: the same paths are covered against node:http2.
if (/HTTP2/.test(versionOf('curl'))) {
  // One transfer per connection: curl 7.88 failed to use a prior-knowledge connection a second time.
  const curl = (...args: string[]): Promise<{ stdout: Buffer }> =>
    run('curl', ['-sS', '--max-time', '20', '--http2-prior-knowledge', ...args], { encoding: 'buffer', maxBuffer: 1e8 })

  t.test('curl: GET with fields', async t => {
    const { stdout } = await curl('-i', '-H', 'x-a: b c', `http://127.0.0.1:${server.port}/p?q`)
    t.match(stdout.toString(), /^HTTP\/2 200/)
    t.match(stdout.toString(), /echo-path: \/p\?q\r\necho-x-a: b c/)
  })

  t.test('curl: every octet a value may have, Huffman coded', async t => {
    const octets = Array.from({ length: 255 }, (_, code) => code).filter(code => code > 0x20 && code !== 0x7f)
    const lines = octets.map(code =>
      Buffer.concat([Buffer.from(`x-${code}: ${'aeiost'.repeat(6)}`), Buffer.from([code]), Buffer.from('e\n')]),
    )
    for (let at = 0; at < lines.length; at += 60) {
      const file = join(folder, 'headers')
      writeFileSync(file, Buffer.concat(lines.slice(at, at + 60)))
      const { stdout } = await curl('-i', '-H', `@${file}`, `http://127.0.0.1:${server.port}/`)
      for (const code of octets.slice(at, at + 60)) {
        const line = Buffer.concat([
          Buffer.from(`echo-x-${code}: ${'aeiost'.repeat(6)}`),
          Buffer.from([code]),
          Buffer.from('e\r\n'),
        ])
        if (!stdout.includes(line)) t.fail(`octet ${code}`)
      }
    }
    t.equal(octets.length, 221)
  })

  t.test('curl: 8 MiB up and down, byte for byte', async t => {
    const file = join(folder, 'body')
    const body = pattern(8 * 1024 * 1024, 4)
    writeFileSync(file, body)
    const { stdout } = await curl('--data-binary', `@${file}`, `http://127.0.0.1:${server.port}/`)
    t.ok(stdout.equals(body))
  })
}

if (versionOf('h2load') !== '') {
  t.test('h2load: 20,000 requests, none failed', async t => {
    const { stdout } = await run('h2load', ['-n20000', '-c4', '-m50', `http://127.0.0.1:${server.port}/`], {
      timeout: TIMEOUT_MS,
    })
    t.match(stdout, /20000 succeeded, 0 failed, 0 errored, 0 timeout/)
  })
}

if (versionOf('nghttp') !== '') {
  t.test('nghttp: padding, continuation and trailers', async t => {
    const file = join(folder, 'upload')
    writeFileSync(file, pattern(500_000, 6))
    const args = [
      '--padding=200',
      '--continuation',
      '-m1',
      '--trailer=x-sum: 9',
      '-d',
      file,
      `http://127.0.0.1:${server.port}/`,
    ]
    const { stdout } = await run('nghttp', args, { encoding: 'buffer', maxBuffer: 1e8, timeout: TIMEOUT_MS })
    t.ok(stdout.equals(pattern(500_000, 6)))
  })

  t.test('nghttp: 20 uploads at once on one connection', async t => {
    const before = server.connections.length
    const file = join(folder, 'small')
    writeFileSync(file, pattern(30_000, 7))
    const args = ['-m20', '-d', file, `http://127.0.0.1:${server.port}/`]
    const { stdout } = await run('nghttp', args, { encoding: 'buffer', maxBuffer: 1e8, timeout: TIMEOUT_MS })
    t.equal(stdout.length, 20 * 30_000)
    t.equal(server.connections.length - before, 1)
  })
}

t.comment(`used: ${versionOf('curl').split('\n')[0]}; ${versionOf('h2load')}; ${versionOf('nghttp')}`)
