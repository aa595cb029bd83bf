import type { Logger } from '@waiter/base'
import type {
  MeasureRequest,
  MeasureResponse,
  MetricFamily,
  RouterServiceClient,
  RouterServiceServer,
} from '../generated/waiter/v1/router.ts'
import { callUnary } from '../rpc/call-unary.ts'
import { createRpcClients } from '../rpc/clients.ts'
import type { NodeAuth } from '../rpc/node-auth.ts'

/** Who scrapes waits behind it, and gives up after ten seconds by default. */
const MEASURE_TIMEOUT_MS = 1_000

/** What the other workers of the node measured. */
export interface SiblingMeasures {
  readonly pages: readonly (readonly MetricFamily[])[]
  /** Workers that did not answer in time. */
  readonly silent: number
}

/** Lets the other workers of this node ask what this one measures. */
export function createMeasureHandler(measure: () => readonly MetricFamily[]): Pick<RouterServiceServer, 'measure'> {
  return { measure: (_call, callback) => callback(null, { families: [...measure()] }) }
}

/** The other workers of this node. */
export class Siblings {
  readonly #auth: NodeAuth
  readonly #log: Logger
  #clients: readonly RouterServiceClient[] = []

  constructor(auth: NodeAuth, log: Logger) {
    this.#auth = auth
    this.#log = log
  }

  /** Replaces who they are. */
  set(addresses: readonly string[]): void {
    this.close()
    this.#clients = addresses.map(createRpcClients(this.#auth).router)
  }

  async measure(): Promise<SiblingMeasures> {
    const answers = await Promise.allSettled(this.#clients.map(askFor))
    const pages: MetricFamily[][] = []
    for (const answer of answers) {
      if (answer.status === 'fulfilled') pages.push(answer.value.families)
      else this.#log.info({ err: answer.reason }, 'another worker of this node did not tell what it measured')
    }
    return { pages, silent: answers.length - pages.length }
  }

  close(): void {
    for (const client of this.#clients) client.close()
    this.#clients = []
  }
}

function askFor(client: RouterServiceClient): Promise<MeasureResponse> {
  const request: MeasureRequest = {}
  return callUnary<MeasureResponse>(
    (metadata, options, callback) => client.measure(request, metadata, options, callback),
    MEASURE_TIMEOUT_MS,
  )
}
