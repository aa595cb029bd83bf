import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createExampleDefinition, schedulerContract } from '../src/contract.ts'
import { createProcessScheduler } from '../src/index.ts'
import { COMMANDS } from './support/behaviours.ts'
import { processesBelow } from './support/open.ts'

const cases = schedulerContract({
  open: async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'waiter-contract-'))
    let scheduler = await createProcessScheduler({ dataDir })
    return {
      scheduler,
      reopen: async () => {
        await scheduler.stop()
        scheduler = await createProcessScheduler({ dataDir })
        return scheduler
      },
      close: async () => {
        await scheduler.stopAll(0)
        const left = await processesBelow(dataDir)
        rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
        if (left.length > 0) throw new Error(`processes left over: ${left}`)
      },
    }
  },
  define: (id, behaviour) => createExampleDefinition(id, COMMANDS[behaviour]),
})

for (const { title, run } of cases) t.test(title, () => run())
