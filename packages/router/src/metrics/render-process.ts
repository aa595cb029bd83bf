import { hostname } from 'node:os'
import { getHeapStatistics } from 'node:v8'

type Json = Record<string, unknown>

const MS_PER_SECOND = 1_000

/** The process under the name that the original's users know (`jvm`), as far as there is a counterpart. */
export function renderJvm(): Json {
  const memory = process.memoryUsage()
  const heap = getHeapStatistics()
  const nonHeap = memory.rss - memory.heapTotal
  return {
    attribute: {
      name: { value: `${process.pid}@${hostname()}` },
      uptime: { value: Math.round(process.uptime() * MS_PER_SECOND) },
      vendor: { value: `Node.js ${process.version}` },
    },
    memory: {
      heap: {
        committed: { value: memory.heapTotal },
        max: { value: heap.heap_size_limit },
        usage: { value: memory.heapUsed / heap.heap_size_limit },
        used: { value: memory.heapUsed },
      },
      'non-heap': { committed: { value: nonHeap }, used: { value: nonHeap } },
      total: { committed: { value: memory.rss }, used: { value: memory.heapUsed + nonHeap } },
    },
  }
}
