/**
 * What a line of the request log costs: CPU time of the whole process (threads that write included) per line, for a
 * bare request and for one with a browser's headers, through the real writer into a real file.
 *
 *     node benchmarks/proxy/access-log.ts [lines=400000]
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compilePolicy } from '../../packages/proxy/src/h1/compiled-policy.ts'
import { HeadScanner } from '../../packages/proxy/src/h1/head-scanner.ts'
import { readRequestHead } from '../../packages/proxy/src/h1/request-head.ts'
import { ResponseHead } from '../../packages/proxy/src/h1/response-head.ts'
import { DEFAULT_LIMITS, type Exchange } from '../../packages/proxy/src/index.ts'
import { AccessLog } from '../../packages/router/src/access-log/access-log.ts'
import { LogFile } from '../../packages/router/src/access-log/log-file.ts'
import { listCases } from './cases.ts'

const lines = Number(process.argv[2] ?? 400_000)
/** Real requests come apart from each other: the writer gets its turn. */
const LINES_PER_TURN = 64
const ROUNDS = 5
const policy = compilePolicy({ dropRequest: { names: [], prefixes: [] } })
const directory = mkdtempSync(join(tmpdir(), 'waiter-bench-log-'))
const silent = { debug: () => {}, info: () => {}, warn: console.error, error: console.error }

try {
  for (const one of listCases(true).slice(0, 2)) {
    const results: number[] = []
    let bytesPerLine = 0
    for (let round = 0; round < ROUNDS; round++) {
      const path = join(directory, `${round}-${one.connections}.log`)
      const sink = new LogFile({ path, bytesMax: 2 ** 40, filesMax: 2, log: silent, nowMs: () => performance.now() })
      const log = new AccessLog({
        sink,
        nowMs: () => performance.now(),
        requestHeaders: [],
        responseHeaders: [],
        omittedFields: [],
      })
      const write = writerOf(log, one.path, one.headers ?? {})
      const before = process.cpuUsage()
      for (let count = 0; count < lines; count += LINES_PER_TURN) {
        for (let i = 0; i < LINES_PER_TURN; i++) write()
        await new Promise(setImmediate)
      }
      await log.close()
      const { user, system } = process.cpuUsage(before)
      results.push((user + system) / lines)
      const { droppedLines, writtenLines } = log.stats()
      if (droppedLines > 0 || writtenLines < lines) throw new Error(`${droppedLines} lines dropped`)
      bytesPerLine = statSync(path).size / lines
      rmSync(path)
    }
    results.sort((a, b) => a - b)
    const [min, median, max] = [results[0]!, results[ROUNDS >> 1]!, results.at(-1)!]
    console.log(
      `${one.name.padEnd(24)} ${median.toFixed(2)} us of CPU per line (${min.toFixed(2)}..${max.toFixed(2)}), ${bytesPerLine.toFixed(0)} bytes each`,
    )
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}

/** Writes the line of one request, from heads as the engine has them. */
function writerOf(log: AccessLog, path: string, headers: Readonly<Record<string, string>>): () => void {
  const fields = Object.entries({ Host: 'bench-service.example', ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\n${fields.join('')}\r\n`, 'latin1')
  const response = Buffer.from(
    'HTTP/1.1 200 OK\r\nserver: bench\r\ndate: now\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n',
  )
  const requestScanner = new HeadScanner('request', DEFAULT_LIMITS, policy.requestTable)
  const responseHead = new ResponseHead(new HeadScanner('response', DEFAULT_LIMITS, policy.responseTable))
  requestScanner.scan(request, 0, request.length)
  responseHead.scanner.scan(response, 0, response.length)
  responseHead.read(response, 0, false)
  const service = log.servicePart({
    serviceId: 'waiter-service-bench-0123456789abcdef0123456789abcdef',
    tokens: [{ token: 'bench-service.example', version: '1' }],
    effective: {
      env: {},
      'backend-proto': 'http',
      'metric-group': 'other',
      'run-as-user': 'alice',
      name: 'bench',
      version: '1',
    },
  } as never)
  const slot = {
    instanceId: 'waiter-service-bench-0123456789abcdef0123456789abcdef.mwwlq85b-mqcqnr',
    host: '127.0.0.6',
    port: 10_713,
  }
  const identity = { principal: 'alice', method: 'single-user' }
  let count = 0
  return () => {
    const now = performance.now()
    const head = readRequestHead(request, 0, requestScanner)
    count += 1
    const exchange = {
      head,
      remoteAddress: '127.0.0.1',
      localPort: 9091,
      arrivedAtMs: now - 0.25,
    } as unknown as Exchange
    log.proxied(exchange, {
      status: 200,
      cid: `${count.toString(16)}-c37d0ec547ed3dd6`,
      service,
      instance: slot,
      response: log.responsePart(responseHead.get, responseHead.scanner.fieldCount),
      grantedAtMs: now - 0.2,
      answeredAtMs: now,
      endedAtMs: now,
      retries: 0,
      problem: undefined,
      errorClass: undefined,
      grpcStatus: undefined,
      identity,
    })
  }
}
