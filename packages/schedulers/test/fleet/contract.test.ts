import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createExampleDefinition, schedulerContract } from '../../src/contract.ts'
import { createProcessScheduler, FleetScheduler, type ProcessScheduler } from '../../src/index.ts'
import { COMMANDS } from '../support/behaviours.ts'
import { processesBelow } from '../support/open.ts'

/** A cluster of one host. Several, by gRPC: packages/control/test/hosts/contract.test.ts. */
async function open(dataDir: string): Promise<{ fleet: FleetScheduler; scheduler: ProcessScheduler }> {
  const scheduler = await createProcessScheduler({ dataDir })
  const fleet = new FleetScheduler()
  fleet.setHosts([{ hostId: 'a', scheduler, capacity: () => ({ cpus: 4, memMb: 16_384 }) }])
  return { fleet, scheduler }
}

const cases = schedulerContract({
  open: async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'waiter-fleet-'))
    let opened = await open(dataDir)
    return {
      scheduler: opened.fleet,
      reopen: async () => {
        opened.fleet.stop()
        await opened.scheduler.stop()
        opened = await open(dataDir)
        return opened.fleet
      },
      close: async () => {
        opened.fleet.stop()
        await opened.scheduler.stopAll(0)
        const left = await processesBelow(dataDir)
        rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
        if (left.length > 0) throw new Error(`processes left over: ${left}`)
      },
    }
  },
  define: (id, behaviour) => createExampleDefinition(id, COMMANDS[behaviour]),
})

for (const { title, run } of cases) t.test(title, () => run())
