import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RemoteHost } from '@waiter/control'
import { createProcessScheduler, FleetScheduler } from '@waiter/schedulers'
import { type Behaviour, createExampleDefinition, schedulerContract } from '@waiter/schedulers/contract'
import t from 'tap'
import { openSeat } from '../support/host-world.ts'
import { auth } from '../support/rpc-world.ts'

const SERVER = 'require("node:http").createServer((q,r)=>r.end("ok")).listen(process.env.PORT0)'
const COMMANDS: Readonly<Record<Behaviour, string>> = {
  healthy: `exec ${process.execPath} -e '${SERVER}'`,
  fails: 'exit 3',
  silent: 'exec sleep 1000',
  stubborn: `exec ${process.execPath} -e 'process.on("SIGTERM",()=>{});${SERVER}'`,
}

/** As the suite leads. */
const TERM = 5

/** Everything that one leader has: a line to each host, whose scheduler another process keeps. */
async function openFleet(directories: readonly string[]) {
  const parts = await Promise.all(
    directories.map(async (dataDir, index) => {
      const hostId = `host-${index}`
      const [scheduler, idle, keeper] = [
        await createProcessScheduler({ dataDir }),
        await openSeat(hostId),
        await openSeat(hostId),
      ]
      keeper.kept = scheduler
      const host = new RemoteHost({ hostId, term: TERM, auth, addresses: [idle.address, keeper.address] })
      return { scheduler, idle, keeper, host }
    }),
  )
  const fleet = new FleetScheduler()
  fleet.setHosts(parts.map(({ host }) => host))
  const leave = async (stop: (scheduler: (typeof parts)[number]['scheduler']) => Promise<void>): Promise<void> => {
    fleet.stop()
    await Promise.all(parts.map(({ scheduler }) => stop(scheduler)))
    for (const { idle, keeper, host } of parts) {
      host.close()
      idle.close()
      keeper.close()
    }
  }
  return { fleet, leave }
}

for (const hosts of [1, 3]) {
  const cases = schedulerContract({
    open: async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'waiter-hosts-'))
      const directories = Array.from({ length: hosts }, (_, index) => join(dataDir, `host-${index}`))
      let opened = await openFleet(directories)
      return {
        scheduler: opened.fleet,
        reopen: async () => {
          await opened.leave(scheduler => scheduler.stop())
          opened = await openFleet(directories)
          return opened.fleet
        },
        close: async () => {
          await opened.leave(scheduler => scheduler.stopAll(0))
          rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 })
        },
      }
    },
    define: (id, behaviour) => createExampleDefinition(id, COMMANDS[behaviour]),
  })
  for (const { title, run } of cases) t.test(`${hosts} by gRPC: ${title}`, () => run())
}
