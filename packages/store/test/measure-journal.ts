/** Acknowledged writes per second with real syncs: `node packages/store/test/measure-journal.ts [directory]`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@waiter/base'
import { openJournalStore } from '../src/index.ts'

const MEASURE_MS = 3000
const value = 'v'.repeat(500)
const root = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'measure-journal-'))
for (const writers of [1, 8, 64, 256]) {
  const store = await openJournalStore({ directory: join(root, String(writers)), log: silentLogger })
  const latencies: number[] = []
  const startMs = performance.now()
  const write = async (_: unknown, writer: number): Promise<void> => {
    let version = 0
    while (performance.now() - startMs < MEASURE_MS) {
      const beforeMs = performance.now()
      const outcome = await store.compareAndSet(`key-${writer}`, version, value)
      if (outcome.kind === 'written') version = outcome.version
      latencies.push(performance.now() - beforeMs)
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
  const seconds = (performance.now() - startMs) / 1000
  latencies.sort((a, b) => a - b)
  const at = (share: number) => (latencies[Math.floor(latencies.length * share)] as number).toFixed(2)
  const rate = Math.round(latencies.length / seconds)
  process.stdout.write(`${writers} writers: ${rate} writes/s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms\n`)
  await store.close()
}
rmSync(root, { recursive: true })
