import { Agent, request } from 'node:http'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Requests in flight at most: an open loop must not take the machine with it when answers stay out. */
const IN_FLIGHT_MAX = 4_000
const REQUEST_TIMEOUT_MS = 60_000
const FAILURES_KEPT = 20

/** What became of all requests. */
export interface LoadFigures {
  sent: number
  /** Not sent, because too many were in flight. */
  skipped: number
  succeeded: number
  /** Answers of 500 and above that a backend gave. */
  failedByBackend: number
  /** Errors that Waiter answered with, and broken connections. */
  failedByWaiter: number
  readonly failures: string[]
}

/** Sends requests at a fixed rate, whatever comes back: 1/rate s apart, caught up when a turn was late. */
export class SteadyLoad {
  readonly figures: LoadFigures = {
    sent: 0,
    skipped: 0,
    succeeded: 0,
    failedByBackend: 0,
    failedByWaiter: 0,
    failures: [],
  }
  /** In microseconds. */
  readonly latencies: RecordableHistogram = createHistogram()
  readonly #options: { readonly port: number; readonly token: string; readonly perSecond: number }
  readonly #agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT_MAX })
  #inFlight = 0
  #timer: NodeJS.Timeout | undefined
  #onIdle: () => void = () => undefined

  constructor(options: { readonly port: number; readonly token: string; readonly perSecond: number }) {
    this.#options = options
  }

  start(): void {
    const { perSecond } = this.#options
    const startedAtMs = performance.now()
    const TICK_MS = 10
    let due = 0
    this.#timer = setInterval(() => {
      const wanted = Math.floor(((performance.now() - startedAtMs) / 1_000) * perSecond)
      for (; due < wanted; due++) this.#send()
    }, TICK_MS)
  }

  /** Resolves when everything that was sent has been answered. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    if (this.#inFlight > 0)
      await new Promise<void>(resolve => {
        this.#onIdle = resolve
      })
    this.#agent.destroy()
  }

  #send(): void {
    if (this.#inFlight >= IN_FLIGHT_MAX) {
      this.figures.skipped += 1
      return
    }
    this.figures.sent += 1
    this.#inFlight += 1
    const startedAtMs = performance.now()
    const { port, token } = this.#options
    const sent = request({
      port,
      host: '127.0.0.1',
      agent: this.#agent,
      timeout: REQUEST_TIMEOUT_MS,
      headers: { 'x-waiter-token': token },
    })
    let isOver = false
    const end = (count: 'succeeded' | 'failedByBackend' | 'failedByWaiter', text?: string): void => {
      if (isOver) return
      isOver = true
      this.#inFlight -= 1
      this.figures[count] += 1
      if (text !== undefined && this.figures.failures.length < FAILURES_KEPT) this.figures.failures.push(text)
      this.latencies.record(Math.max(1, Math.round((performance.now() - startedAtMs) * 1_000)))
      if (this.#inFlight === 0) this.#onIdle()
    }
    sent.on('response', response => {
      const status = response.statusCode ?? 0
      // Waiter says so in `server`; answers of backends pass as they are.
      const isWaiters = String(response.headers.server ?? '').startsWith('waiter/')
      let text = ''
      response.setEncoding('utf8')
      response.on('data', piece => {
        if (isWaiters && text.length < 300) text += piece
      })
      response.on('end', () => {
        if (status < 500)
          end(status < 400 ? 'succeeded' : 'failedByWaiter', status < 400 ? undefined : `${status} ${text}`)
        else if (isWaiters) end('failedByWaiter', `${status} ${text.replaceAll('\n', ' ').slice(0, 300)}`)
        else end('failedByBackend')
      })
      response.on('error', error => end('failedByWaiter', String(error)))
    })
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')))
    sent.on('error', error => end('failedByWaiter', String(error)))
    sent.end()
  }
}
