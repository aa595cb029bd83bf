import fc from 'fast-check'
import t from 'tap'
import type { Http2Stream } from '../../src/h2/index.ts'
import { Recorder, Rig } from './support/rig.ts'
import { fieldsOf, pairsOf } from './support/wire.ts'

interface Plan {
  readonly requestBytes: number
  readonly responseBytes: number
  readonly pieceBytes: number
  readonly hasTrailers: boolean
  readonly pausesAt: number
  readonly cut: 'none' | 'client' | 'server'
}

const planArbitrary: fc.Arbitrary<Plan> = fc.record({
  requestBytes: fc.oneof(fc.constant(0), fc.nat(1000), fc.nat(300_000)),
  responseBytes: fc.oneof(fc.constant(0), fc.nat(1000), fc.nat(300_000)),
  pieceBytes: fc.integer({ min: 1000, max: 70_000 }),
  hasTrailers: fc.boolean(),
  pausesAt: fc.nat(100_000),
  cut: fc.oneof(
    { weight: 6, arbitrary: fc.constant('none' as const) },
    fc.constantFrom('client' as const, 'server' as const),
  ),
})

/** Bytes that tell where they belong. */
function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 7 + (i >> 8)) & 0xff
  return bytes
}

/** Sends a body as a well-behaved source does: stops on false, goes on at drain. */
class Source {
  readonly #body: Buffer
  readonly #plan: Plan
  #at = 0
  #hasEnded = false

  constructor(body: Buffer, plan: Plan) {
    this.#body = body
    this.#plan = plan
  }

  run(stream: Http2Stream): void {
    while (this.#at < this.#body.length) {
      const end = Math.min(this.#body.length, this.#at + this.#plan.pieceBytes)
      const isSent = stream.sendData(this.#body, this.#at, end)
      this.#at = end
      if (!isSent) return
    }
    if (this.#hasEnded) return
    this.#hasEnded = true
    if (this.#plan.hasTrailers) stream.sendTrailers(fieldsOf('x-length', String(this.#body.length)))
    else stream.end()
  }
}

class PausingRecorder extends Recorder {
  readonly pausesAt: number
  stream: Http2Stream | null = null
  received = 0
  hasPaused = false

  constructor(pausesAt: number) {
    super()
    this.pausesAt = pausesAt
  }

  override onData(bytes: Buffer, start: number, end: number): void {
    super.onData(bytes, start, end)
    this.received += end - start
    if (this.hasPaused || this.received < this.pausesAt) return
    this.hasPaused = true
    this.stream?.pause()
  }
}

/** Carries bytes from one engine to the other in pieces of the given sizes. */
function carry(from: Rig, to: Rig, cuts: readonly number[], turn: { index: number }): boolean {
  from.turn()
  const bytes = from.io.take()
  for (let at = 0; at < bytes.length; ) {
    const length = Math.max(1, cuts[turn.index++ % cuts.length]!)
    to.push(bytes.subarray(at, Math.min(bytes.length, at + length)))
    at += length
  }
  return bytes.length > 0
}

function runPlans(plans: readonly Plan[], cuts: readonly number[], limits: object): string[] {
  const client = new Rig('client', { limits })
  const server = new Rig('server', { limits })
  const problems: string[] = []
  const heardByServer = new Map<number, PausingRecorder>()
  const heardByClient: PausingRecorder[] = []
  server.onRequest = stream => {
    const index = Number(stream.request!.get('x-plan'))
    const plan = plans[index]!
    const recorder = new PausingRecorder(plan.pausesAt)
    recorder.stream = stream
    heardByServer.set(index, recorder)
    const source = new Source(pattern(plan.responseBytes, index + 100), plan)
    // The request first, so that an early answer does not cut it off.
    recorder.onEnd = () => {
      recorder.events.push('end')
      stream.sendHead(fieldsOf(':status', '200', 'x-plan', String(index)), false)
      source.run(stream)
      if (plan.cut === 'server') stream.reset(2)
    }
    recorder.onDrained = () => source.run(stream)
    return recorder
  }
  const openNext = (index: number): void => {
    const plan = plans[index]
    if (plan === undefined) return
    const recorder = new PausingRecorder(plan.pausesAt)
    heardByClient.push(recorder)
    const source = new Source(pattern(plan.requestBytes, index), plan)
    const head = fieldsOf(
      ':method',
      'POST',
      ':scheme',
      'http',
      ':path',
      `/${index}`,
      ':authority',
      'a',
      'x-plan',
      String(index),
    )
    const stream = client.connection.request(head, false, recorder)
    if (stream === null) {
      problems.push(`plan ${index} found no room`)
      return
    }
    recorder.stream = stream
    recorder.onDrained = () => source.run(stream)
    source.run(stream)
    if (plan.cut === 'client') stream.reset(8)
  }
  for (let index = 0; index < plans.length; index++) openNext(index)
  const turn = { index: 0 }
  for (let idle = 0; idle < 2; ) {
    const hasMoved = [carry(client, server, cuts, turn), carry(server, client, cuts, turn)].includes(true)
    const hasResumed = [...heardByServer.values(), ...heardByClient].filter(it => it.stream?.isPaused)
    for (const it of hasResumed) it.stream!.resume()
    idle = hasMoved || hasResumed.length > 0 ? 0 : idle + 1
  }
  for (const [index, plan] of plans.entries())
    problems.push(...judge(plan, index, heardByServer.get(index), heardByClient[index]!))
  for (const rig of [client, server]) {
    if (rig.connection.streamCount > 0)
      problems.push(`${rig.connection.role}: ${rig.connection.streamCount} streams left`)
    if (rig.connection.heldBytes !== 0) problems.push(`${rig.connection.role}: ${rig.connection.heldBytes} octets held`)
    if (rig.ends.length > 0) problems.push(`${rig.connection.role}: ${rig.ends[0]!.detail}`)
  }
  return problems
}

function judge(plan: Plan, index: number, atServer: Recorder | undefined, atClient: Recorder): string[] {
  if (plan.cut === 'client') return []
  if (plan.cut === 'server') {
    const isTold = atClient.events.at(-1) === 'reset peer 2' || atClient.events.includes('end')
    return isTold ? [] : [`plan ${index}: ${atClient.events}`]
  }
  const problems: string[] = []
  if (!atServer?.body.equals(pattern(plan.requestBytes, index))) problems.push(`plan ${index}: request differs`)
  if (!atClient.body.equals(pattern(plan.responseBytes, index + 100))) problems.push(`plan ${index}: response differs`)
  if (atClient.events.at(-1) !== 'end') problems.push(`plan ${index}: ${atClient.events}`)
  const trailers = JSON.stringify(pairsOf(fieldsOf('x-length', String(plan.responseBytes))))
  if (plan.hasTrailers && !atClient.events.includes(`trailers ${trailers}`)) problems.push(`plan ${index}: no trailers`)
  return problems
}

t.test('our client and our server understand each other, whatever the bodies, pauses, resets and segments', async t => {
  const limits = {
    streamWindowBytes: 70_000,
    connectionWindowBytes: 90_000,
    outputBytesMax: 60_000,
    receiveBufferBytesMax: 50_000,
  }
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(planArbitrary, { minLength: 1, maxLength: 8 }),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 500, max: 65_536 })), {
          minLength: 1,
          maxLength: 9,
        }),
        fc.boolean(),
        (plans, cuts, hasTightLimits) => {
          const problems = runPlans(plans, [...cuts, 30_000], hasTightLimits ? limits : {})
          if (problems.length > 0) throw new Error(problems.join('; '))
        },
      ),
      { seed: 21, numRuns: 150 },
    ),
  )
})
