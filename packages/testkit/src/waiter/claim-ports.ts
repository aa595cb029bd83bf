import { once } from 'node:events'
import { createServer } from 'node:net'

/** Ports for the instances of one Waiter. */
export interface ClaimedPorts {
  readonly first: number
  readonly last: number
  /** Gives them back; without it they are back when this process ends. */
  release(): void
}

/** Slices of ports below the range from which the system takes its own. */
const PORT_FIRST = 11_000
const PORTS_PER_SLICE = 200
const SLICES = 100
let claims = 0

/**
 * Finds a slice of ports that no other test of this machine uses. Whoever has a slice listens on a port of it that it
 * does not give out.
 */
export async function claimPorts(): Promise<ClaimedPorts> {
  for (let attempt = 0; attempt < SLICES; attempt++) {
    const slice = (process.pid + claims++ * 7) % SLICES
    const lock = PORT_FIRST + slice * PORTS_PER_SLICE
    const server = createServer(socket => socket.destroy())
    try {
      server.listen(lock, '127.0.0.1')
      await once(server, 'listening')
      server.unref()
      return { first: lock + 1, last: lock + PORTS_PER_SLICE - 1, release: () => void server.close() }
    } catch {
      // Somebody else has it.
    }
  }
  throw new Error(`all ports from ${PORT_FIRST} to ${PORT_FIRST + SLICES * PORTS_PER_SLICE - 1} are in use by tests`)
}
