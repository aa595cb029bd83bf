/**
 * What one rebalance of a service costs in the leader, after a report that changes demand.
 * Run: `node packages/slots/benchmarks/rebalance.ts`. Takes a few seconds.
 */
import { createPrng } from '@waiter/base'
import { SlotLedger } from '@waiter/slots'

const ROUNDS = 2000

for (const [routerCount, instanceCount, slots] of [
  [1, 1, 1],
  [4, 10, 10],
  [4, 500, 1],
  [20, 500, 10],
] as const) {
  const prng = createPrng(1)
  const ledger = new SlotLedger()
  for (let index = 0; index < routerCount; index++) ledger.routerJoined(`router-${index}`)
  const instances = Array.from({ length: instanceCount }, (_, index) => ({
    ...{ instanceId: `service-name-0123456789abcdef.instance-${index}`, host: 'h', port: 1, slots, startedAtMs: index },
  }))
  ledger.setInstances(instances)
  const demandMax = (2 * instanceCount * slots) / routerCount
  let sent = 0
  const startedNs = process.hrtime.bigint()
  for (let round = 0; round < ROUNDS; round++) {
    ledger.setDemand(`router-${prng.below(routerCount)}`, prng.below(demandMax))
    for (const { routerId, version } of ledger.rebalance(0)) {
      sent++
      ledger.ack(routerId, version, new Map())
    }
  }
  const us = Number(process.hrtime.bigint() - startedNs) / ROUNDS / 1000
  const name = `${routerCount} routers, ${instanceCount} instances x ${slots}`
  console.log(`${name.padEnd(40)} ${us.toFixed(1).padStart(8)} µs per rebalance, ${sent} assignments sent`)
}
