import { randomBytes } from 'node:crypto'
import type { Logger } from '@waiter/base'
import { requireFreePort } from './listening.ts'
import type {
  Bind,
  ChildNews,
  DrainMessage,
  MembersMessage,
  RouterEndedMessage,
  RouterStart,
} from './process/messages.ts'
import { SupervisedChild } from './process/supervised-child.ts'

const TICKET_SECRET_BYTES = 32
/** How to choose another port for HTTPS. */
export const SECURE_PORT_MEND = 'server-options.ssl-port'

/** Where the routers of a node serve. */
export interface RouterAddresses {
  readonly http: string
  readonly https: string | undefined
}

/**
 * How V8 manages a router's memory. Nearly everything that a request allocates is garbage when it ends.
 *
 * - A first burst, in which requests wait and so outlive a collection or two, made V8 decide for good that requests
 *   live long and are better allocated among old objects: pauses of 20 to 35 ms twice a second, and 100 MiB of garbage
 *   between full collections. Without that guess: 0.4 ms.
 * - The young generation begins at 1 MiB and grows only when much survives; at its full size from the start it is
 *   collected some times a second instead of some fifty.
 * - Threads that help to collect cost more than they save where little survives: 4 to 8 % of a small request. Pauses
 *   are as long without them (benchmarks/proxy/README.md). A router is one of many processes on its machine anyway.
 */
const ENGINE_FLAGS = ['--no-allocation-site-pretenuring', '--min-semi-space-size=16', '--single-threaded-gc']

export interface RouterWorkersOptions {
  /** File that a worker runs. */
  readonly entry: string
  readonly count: number
  readonly bind: Bind
  /** For HTTPS; absent: none. */
  readonly securePort: number | undefined
  /** The rest of a worker's start message. */
  readonly startMessage: (worker: number) => Omit<RouterStart, 'kind' | 'worker' | 'workers' | 'bind' | 'tls'>
  readonly onNews?: (news: ChildNews) => void
  /** One of them has ended; a new one gets another name. */
  readonly onEnd?: (routerId: string) => void
  /** Workers drain that did not, or the other way round. */
  readonly onDrain?: () => void
  readonly log: Logger
}

/**
 * The router processes of one node: they share its port (the kernel spreads connections over them) and nothing else.
 * One that dies takes its own connections with it and is started again on the same port.
 */
export class RouterWorkers {
  readonly #options: RouterWorkersOptions
  readonly #children: SupervisedChild[] = []
  /** Workers that drain. */
  readonly #draining = new Set<number>()
  /** Where they listen; known once the first does, when the system chose the port. */
  #address: string | undefined
  #secureAddress: string | undefined
  /** For this life of the node: whoever reads it later cannot read what was recorded. */
  readonly #ticketSecret = randomBytes(TICKET_SECRET_BYTES).toString('base64')

  constructor(options: RouterWorkersOptions) {
    this.#options = options
  }

  /**
   * Starts all and waits until they serve.
   *
   * @throws WaiterError what one of them could not do, with the mend; none is left running then
   */
  async start(): Promise<RouterAddresses> {
    const { count, bind, securePort } = this.#options
    if (isPortShared(count)) {
      await requireFreePort(bind)
      if (securePort !== undefined) await requireFreePort({ ...bind, port: securePort }, SECURE_PORT_MEND)
    }
    for (let worker = 1; worker <= count; worker++) this.#children.push(this.#create(worker))
    try {
      const [first, ...others] = this.#children
      // With port 0 the first one's is for all; else nobody has to wait for anybody.
      const leading = first?.start().then(address => {
        this.#address = address
        this.#secureAddress = first.secureAddress
      })
      if (bind.port === 0 || securePort === 0) await leading
      await Promise.all([leading, ...others.map(child => child.start())])
      return { http: this.#address ?? '', https: this.#secureAddress }
    } catch (error) {
      await this.stop(0)
      throw error
    }
  }

  /** Of the first worker. */
  get pid(): number | undefined {
    return this.#children[0]?.pid
  }

  /** All of them ask to be left out. */
  get isDraining(): boolean {
    return this.#draining.size === this.#options.count
  }

  /** Tells all who the control processes are, or to drain. */
  send(message: MembersMessage | DrainMessage | RouterEndedMessage): void {
    for (const child of this.#children) child.send(message)
  }

  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.#children.map(child => child.stop(graceMs)))
  }

  /** Tells each where the others are. */
  #introduce(): void {
    if (this.#options.count === 1) return
    for (const child of this.#children) {
      const others = this.#children.filter(other => other !== child)
      const addresses = others.flatMap(({ addresses: known }) => known?.peerAddress ?? [])
      child.send({ kind: 'siblings', addresses })
    }
  }

  #create(worker: number): SupervisedChild {
    const { entry, count, bind, securePort, startMessage, onNews = () => undefined, onEnd, log } = this.#options
    const child: SupervisedChild = new SupervisedChild(
      entry,
      () => ({
        kind: 'start-router',
        ...startMessage(worker),
        worker,
        workers: count,
        bind: {
          host: bind.host,
          port: this.#address === undefined ? bind.port : portOf(this.#address),
          isShared: isPortShared(count),
        },
        tls:
          securePort === undefined
            ? undefined
            : {
                port: this.#secureAddress === undefined ? securePort : portOf(this.#secureAddress),
                ticketSecret: this.#ticketSecret,
              },
      }),
      log,
      {
        engineFlags: ENGINE_FLAGS,
        onReady: () => this.#introduce(),
        onNews: news => {
          if (news.kind === 'drains') this.#noteDrain(worker, news.drains)
          else onNews(news)
        },
        onDeath: () => {
          this.#noteDrain(worker, false)
          const { routerId } = child.addresses ?? {}
          if (routerId !== undefined) onEnd?.(routerId)
        },
      },
    )
    return child
  }

  #noteDrain(worker: number, drains: boolean): void {
    if (drains) this.#draining.add(worker)
    else this.#draining.delete(worker)
    this.#options.onDrain?.()
  }
}

/** Where the system can, also for a single worker, which then accepts with several sockets. */
function isPortShared(workers: number): boolean {
  return workers > 1 || process.platform === 'linux'
}

/** The port of `host:port` or of a URL; 0 when there is none yet. */
export function portOf(address: string | undefined): number {
  return Number(/:(\d+)$/.exec(address ?? '')?.[1] ?? 0)
}
