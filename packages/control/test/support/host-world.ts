import { silentLogger } from '@waiter/base'
import {
  createHostSchedulerHandlers,
  HostSchedulerServiceService,
  type KeptHost,
  notHostKeeper,
  type RpcServer,
  startRpcServer,
} from '@waiter/control'
import { auth } from './rpc-world.ts'

/** A control process of a host: it may keep the host's scheduler, or not. */
export interface ControlSeat {
  readonly address: string
  kept: KeptHost['scheduler'] | undefined
  close(): void
}

/** Serves what `kept` is set to, on a port of its own. */
export async function openSeat(hostId: string, port = 0): Promise<ControlSeat> {
  const seat: { address: string; kept: KeptHost['scheduler'] | undefined; close(): void } = {
    address: '',
    kept: undefined,
    close: () => server.close(),
  }
  const handlers = createHostSchedulerHandlers(() => {
    if (seat.kept === undefined) throw notHostKeeper(hostId)
    return { hostId, capacity: { cpus: 8, memMb: 4096 }, scheduler: seat.kept }
  }, silentLogger)
  const server: RpcServer = await startRpcServer(
    { host: '127.0.0.1', port },
    [{ definition: HostSchedulerServiceService, handlers: { ...handlers } }],
    auth,
  )
  seat.address = server.address
  return seat
}
