import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createExampleDefinition, schedulerContract } from '../../src/contract.ts'
import { createProcessScheduler, FleetScheduler, type ProcessScheduler } from '../../src/index.ts'
import { COMMANDS } from '../support/behaviours.ts'
import { processesBelow } from '../support/open.ts'

for (const hosts of [1, 3]) {
  const cases = schedulerContract({
    open: async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'waiter-fleet-'))
      const directories = Array.from({ length: hosts }, (_, index) => join(dataDir, `host-${index}`))
      let schedulers: readonly ProcessScheduler[] = []
      const open = async (): Promise<FleetScheduler> => {
        schedulers = await Promise.all(directories.map(directory => createProcessScheduler({ dataDir: directory })))
        const fleet = new FleetScheduler()
        fleet.setHosts(
          schedulers.map((scheduler, index) => ({
            hostId: `host-${index}`,
            scheduler,
            capacity: () => ({ cpus: 4, memMb: 16_384 }),
          })),
        )
        return fleet
      }
      let fleet = await open()
      return {
        scheduler: fleet,
        reopen: async () => {
          fleet.stop()
          await Promise.all(schedulers.map(scheduler => scheduler.stop()))
          fleet = await open()
          return fleet
        },
        close: async () => {
          fleet.stop()
          await Promise.all(schedulers.map(scheduler => scheduler.stopAll(0)))
          const left = await processesBelow(dataDir)
          rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
          if (left.length > 0) throw new Error(`processes left over: ${left}`)
        },
      }
    },
    define: (id, behaviour) => createExampleDefinition(id, COMMANDS[behaviour]),
  })
  for (const { title, run } of cases) t.test(`${hosts === 1 ? 'one host' : `${hosts} hosts`}: ${title}`, () => run())
}
