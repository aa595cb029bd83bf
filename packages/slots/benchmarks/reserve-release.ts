/**
 * What a grant costs with a free slot: time and allocated bytes per reserve + release, and per wait in the queue.
 * Run: `node --expose-gc packages/slots/benchmarks/reserve-release.ts`. Takes a few seconds.
 */
import { createPrng } from '@waiter/base'
import { DEFAULT_EJECTION, type LoadBalancing, ReservationMachine, type Slot, Waiter } from '@waiter/slots'

const OPERATIONS = 2_000_000

function machineWith(loadBalancing: LoadBalancing, instanceCount: number, slots: number): ReservationMachine {
  const machine = new ReservationMachine({
    ...{ loadBalancing, concurrencyLevel: 1000, maxQueueLength: 2_000_000, ejection: DEFAULT_EJECTION },
    prng: createPrng(1),
  })
  const ids = Array.from({ length: instanceCount }, (_, index) => `i${index}`)
  machine.update(
    ids.map((instanceId, index) => ({ instanceId, host: 'h', port: 1, slots, startedAtMs: index })),
    0,
  )
  return machine
}

/** Keeps some requests in flight, ends the oldest and begins a new one. */
function churn(machine: ReservationMachine, inFlight: Slot[], operations: number): void {
  let at = 0
  for (let operation = 0; operation < operations; operation++) {
    machine.release(inFlight[at]!, 'success', operation, 1 + (operation & 63))
    inFlight[at] = machine.reserve(operation)!
    at = at + 1 === inFlight.length ? 0 : at + 1
  }
}

function measure(name: string, run: (operations: number) => void): void {
  run(OPERATIONS / 10)
  globalThis.gc?.()
  const heapBefore = process.memoryUsage().heapUsed
  const startedNs = process.hrtime.bigint()
  run(OPERATIONS)
  const ns = Number(process.hrtime.bigint() - startedNs) / OPERATIONS
  const bytes = (process.memoryUsage().heapUsed - heapBefore) / OPERATIONS
  console.log(`${name.padEnd(52)} ${ns.toFixed(0).padStart(5)} ns  ${bytes.toFixed(2).padStart(6)} bytes`)
}

for (const loadBalancing of ['oldest', 'youngest', 'random', 'least-loaded'] as const) {
  for (const [instanceCount, slots, running] of [
    [1, 1, 1],
    [3, 10, 8],
    [5000, 1, 2500],
  ] as const) {
    const machine = machineWith(loadBalancing, instanceCount, slots)
    const inFlight = Array.from({ length: running }, () => machine.reserve(0)!)
    measure(`${loadBalancing}, ${instanceCount} x ${slots} slots, ${running} in flight`, n =>
      churn(machine, inFlight, n),
    )
  }
}

class Request extends Waiter {
  slot: Slot | undefined
  granted(slot: Slot): void {
    this.slot = slot
  }
  failed(): void {}
}

for (const depth of [1, 1000, 1_000_000]) {
  const machine = machineWith('oldest', 10, 10)
  let running: Slot = machine.reserve(0)!
  while (machine.slotsAvailable > 0) running = machine.reserve(0)!
  const queue: Request[] = Array.from({ length: depth }, () => new Request())
  for (const [index, request] of queue.entries()) machine.enqueue(request, 300_000 + index)
  let deadlineMs = 300_000 + depth
  let at = 0
  measure(`queue of ${depth}: enqueue, release, grant`, operations => {
    for (let operation = 0; operation < operations; operation++) {
      machine.release(running, 'success', operation)
      const served = queue[at]!
      running = served.slot!
      machine.enqueue(served, deadlineMs++)
      at = at + 1 === depth ? 0 : at + 1
    }
  })
}
