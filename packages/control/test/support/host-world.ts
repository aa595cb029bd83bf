import { silentLogger } from '@waiter/base'
import {
  createHostSchedulerHandlers,
  HostSchedulerServiceService,
  type HostSeat,
  notHostKeeper,
  type RpcServer,
  startRpcServer,
} from '@waiter/control'
import type { Fence, Scheduler } from '@waiter/schedulers'
import { auth } from './rpc-world.ts'

type Kept = Scheduler & { admit(fence: Fence): void }

/** A control process of a host: it may keep the host's scheduler, or not. */
export interface ControlSeat {
  readonly address: string
  kept: Kept | undefined
  /** The host is about to stop. */
  drains: boolean
  close(): void
}

/** Serves what `kept` is set to, on a port of its own. */
export async function openSeat(hostId: string): Promise<ControlSeat> {
  const own: { address: string; kept: Kept | undefined; drains: boolean; close(): void } = {
    address: '',
    kept: undefined,
    drains: false,
    close: () => server.close(),
  }
  const keptNow = (): Kept => {
    if (own.kept === undefined) throw notHostKeeper(hostId)
    return own.kept
  }
  const capacity = { cpus: 8, memMb: 4096 }
  const seat: HostSeat = {
    take: async fence => {
      keptNow().admit(fence)
      return { capacity, scheduler: keptNow(), drains: () => own.drains }
    },
    current: () => ({ capacity, scheduler: keptNow(), drains: () => own.drains }),
  }
  const handlers = createHostSchedulerHandlers(hostId, seat, silentLogger)
  const server: RpcServer = await startRpcServer(
    { host: '127.0.0.1', port: 0 },
    [{ definition: HostSchedulerServiceService, handlers: { ...handlers } }],
    auth,
  )
  own.address = server.address
  return own
}
