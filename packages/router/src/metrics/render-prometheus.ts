import type { MetricFamily } from '@waiter/control'
import type { RouterGossip } from '../gossip/router-gossip.ts'
import type { LogHistogram } from './log-histogram.ts'
import type { MetricsSources } from './render-waiter.ts'

type Labels = Readonly<Record<string, string | number>>

const US_PER_SECOND = 1e6
/** Bounds of latency buckets: powers of two of a microsecond, 128 µs to 134 s, every second one. */
const LATENCY_EXPONENTS = [7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27] as const

/**
 * The useful figures for Prometheus, text format 0.0.4. Written by hand: they are kept as plain numbers that cost the
 * hot path nothing, and are only put into words here. One series per service that lives, so their number is bounded by
 * what runs.
 */
export function measureForPrometheus(sources: MetricsSources, nowMs: number): readonly MetricFamily[] {
  const { worker } = sources.options
  const page = new Page(worker === undefined ? {} : { worker })
  addRouterFigures(page, sources, nowMs)
  addServiceFigures(page, sources)
  return page.families()
}

/** One page of what several routers measured; the format wants all series of a family together. */
export function renderPrometheus(pages: readonly (readonly MetricFamily[])[]): string {
  const linesByHead = new Map<string, string[]>()
  for (const { head, lines } of pages.flat()) {
    const known = linesByHead.get(head)
    if (known === undefined) linesByHead.set(head, [...lines])
    else for (const line of lines) known.push(line)
  }
  return [...linesByHead].map(([head, lines]) => `${head}\n${lines.join('\n')}\n`).join('')
}

/** What a worker that answers for its node says of those that it asked. */
export function measureSilence(silent: number): readonly MetricFamily[] {
  const page = new Page({})
  page.gauge('waiter_workers_silent', 'Workers of this node whose figures are missing: they did not answer.', silent)
  return page.families()
}

function addRouterFigures(
  page: Page,
  { options, stats, leader, table, tokens, metrics, gossip }: MetricsSources,
  nowMs: number,
): void {
  page.gauge('waiter_info', 'Which router this is.', 1, { router: options.routerId, version: options.version })
  page.gauge('waiter_leader_connected', 'Whether the router reaches the leader.', leader()?.leader.isConnected ? 1 : 0)
  page.gauge('waiter_services', 'Services that this router knows.', table.size)
  page.gauge('waiter_tokens', 'Tokens that this router knows.', tokens.size)
  page.gauge('waiter_process_uptime_seconds', 'Since the router process started.', nowMs / 1_000)
  page.gauge('waiter_process_resident_memory_bytes', 'Memory of the router process.', process.memoryUsage.rss())
  const engine = stats()
  if (engine !== undefined) {
    page.gauge('waiter_client_connections', 'Open connections of clients.', engine.clientConnections)
    page.gauge('waiter_upstream_connections', 'Open connections to instances.', engine.upstreamConnections)
    page.counter('waiter_http_requests_total', 'Requests that the engine took, of all kinds.', engine.requestsTotal)
    page.counter('waiter_http_refused_total', 'Requests that the engine refused itself.', engine.refusedTotal)
  }
  addExchangeFigures(page, table.exchangeCounts())
  addGossipFigures(page, gossip)
  for (const [endpoint, count] of metrics.apiCalls)
    page.counter('waiter_api_calls_total', 'Calls of the API by endpoint.', count, { endpoint })
}

function addExchangeFigures(page: Page, counts: ReturnType<MetricsSources['table']['exchangeCounts']>): void {
  if (counts === undefined) return
  const { lent, borrowed, borrowedInVain, served, lentNow, borrowedNow } = counts
  page.counter('waiter_slots_lent_total', 'Slots that this router lent to others.', lent)
  page.counter('waiter_slots_borrowed_total', 'Slots that others lent to this router.', borrowed)
  page.counter('waiter_slots_borrowed_in_vain_total', 'Of these, those that came when nobody waited.', borrowedInVain)
  page.counter('waiter_borrowed_requests_total', 'Requests served on borrowed slots.', served)
  page.gauge('waiter_slots_lent', 'Slots that are lent out.', lentNow.length)
  page.gauge('waiter_slots_borrowed', 'Borrowed slots in use.', borrowedNow.length)
}

const MEMBER_STATES = ['alive', 'suspect', 'dead', 'left'] as const

function addGossipFigures(page: Page, gossip: RouterGossip | undefined): void {
  if (gossip === undefined) return
  const { member, advice, unshared } = gossip
  page.gauge('waiter_gossip_member', 'Whether this router is in the gossip group.', member === undefined ? 0 : 1)
  if (member === undefined) return
  const members = member.members()
  for (const state of MEMBER_STATES) {
    const count = members.filter(other => other.state === state).length
    page.gauge('waiter_gossip_members', 'Other routers, by what this one believes of them.', count, { state })
  }
  const status = member.status()
  const health = 'How unwell this router finds itself, 0 to 7: it gives others so much more time.'
  page.gauge('waiter_gossip_local_health', health, status.localHealth)
  page.gauge('waiter_gossip_view_hash', 'Equal where routers believe the same of who is there.', status.viewHash)
  page.gauge('waiter_gossip_streams', 'Open streams to other routers.', status.streams)
  page.gauge('waiter_gossip_advice', 'Instances that other routers say they leave alone.', advice.size)
  page.counter('waiter_gossip_advice_unshared_total', 'Ejections that were not told: too many.', unshared)
  page.counter('waiter_gossip_packets_sent_total', 'Packets sent.', status.packetsSent)
  page.counter('waiter_gossip_packets_received_total', 'Packets received and understood.', status.packetsReceived)
  for (const [reason, count] of Object.entries(status.packetsRefused))
    page.counter('waiter_gossip_packets_refused_total', 'Packets dropped, by reason.', count, { reason })
  page.counter('waiter_gossip_bytes_sent_total', 'Bytes of packets and streams sent.', status.bytesSent)
  page.counter('waiter_gossip_bytes_received_total', 'Bytes of packets and streams received.', status.bytesReceived)
  page.counter('waiter_gossip_strangers_total', 'Streams of somebody without the cluster secret.', status.strangers)
  page.counter(
    'waiter_gossip_stream_failures_total',
    'Streams that could not be opened, or broke.',
    status.streamFailures,
  )
  page.counter('waiter_gossip_suspicions_total', 'Suspicions that this router raised itself.', status.suspicions)
  page.counter('waiter_gossip_refutations_total', 'Suspicions against this router that it refuted.', status.refutations)
  page.counter(
    'waiter_gossip_rows_refused_total',
    'Rows beyond a limit, or of somebody not known yet.',
    status.rowsRefused,
  )
  page.counter('waiter_gossip_row_gaps_total', 'Row changes that had to be asked for again.', status.rowGaps)
}

function addServiceFigures(page: Page, { table }: MetricsSources): void {
  for (const { id: service, counts, machine, metrics, summary, definition, leases, fallbacks } of table.values()) {
    const labels = { service, metric_group: definition.effective['metric-group'] }
    const slots = machine.counts()
    page.counter('waiter_requests_total', 'Requests accepted for a service here.', counts.total, labels)
    page.gauge('waiter_requests_outstanding', 'Requests accepted and not finished.', counts.outstanding, labels)
    page.gauge('waiter_requests_async', 'Of these: answered 202, and worked on by an instance.', counts.async, labels)
    page.gauge('waiter_requests_waiting', 'Requests that wait for a slot.', slots.waiting, labels)
    page.counter('waiter_queue_timeouts_total', 'Requests that got no slot in time.', metrics.queueTimeouts, labels)
    page.counter(
      'waiter_fallback_requests_total',
      'Requests that an older version answered for it.',
      fallbacks.source,
      labels,
    )
    const isWithdrawn = summary?.successions.some(succession => succession.kind === 'withdrawn') ?? false
    page.gauge('waiter_version_withdrawn', 'Whether it turned out bad and was taken back.', isWithdrawn ? 1 : 0, labels)
    for (const [status, count] of metrics.statuses)
      page.counter('waiter_responses_total', 'Answers by status.', count, { ...labels, status })
    page.gauge(
      'waiter_requests_waiting_foreign',
      'Requests of other routers that wait for slots of this one.',
      machine.waitingForeign,
      labels,
    )
    page.gauge('waiter_slots_assigned', 'Slots that this router may use.', slots.slotsAssigned, labels)
    page.gauge('waiter_slots_in_use', 'Slots in use, lent ones included.', slots.slotsInUse, labels)
    page.gauge('waiter_instances_assigned', 'Instances that this router may use.', leases.size, labels)
    page.gauge('waiter_instances_ejected', 'Instances left alone for now.', slots.ejectedInstanceIds.length, labels)
    page.gauge('waiter_instances_healthy', 'Healthy instances, in the cluster.', summary?.healthy ?? 0, labels)
    page.gauge('waiter_instances_requested', 'Instances wanted, in the cluster.', summary?.requested ?? 0, labels)
    page.histogram(
      'waiter_request_seconds',
      'From the head of a request to the end of its answer.',
      metrics.process,
      labels,
    )
    page.histogram(
      'waiter_backend_response_seconds',
      'From a slot to the head of the answer.',
      metrics.backendResponse,
      labels,
    )
    page.histogram('waiter_slot_wait_seconds', 'From the head of a request to a slot.', metrics.getInstance, labels)
  }
}

/** Collects series by family. */
class Page {
  readonly #families = new Map<string, MetricFamily>()
  /** Of every series. */
  readonly #labels: Labels

  constructor(labels: Labels) {
    this.#labels = labels
  }

  gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#family(name, 'gauge', help).push(`${name}${this.#render(labels)} ${value}`)
  }

  counter(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#family(name, 'counter', help).push(`${name}${this.#render(labels)} ${value}`)
  }

  histogram(name: string, help: string, histogram: LogHistogram, labels: Labels): void {
    const lines = this.#family(name, 'histogram', help)
    for (const exponent of LATENCY_EXPONENTS) {
      const le = 2 ** exponent / US_PER_SECOND
      lines.push(`${name}_bucket${this.#render({ ...labels, le })} ${histogram.countBelowPowerOfTwo(exponent)}`)
    }
    lines.push(`${name}_bucket${this.#render({ ...labels, le: '+Inf' })} ${histogram.count}`)
    lines.push(`${name}_sum${this.#render(labels)} ${histogram.sum / US_PER_SECOND}`)
    lines.push(`${name}_count${this.#render(labels)} ${histogram.count}`)
  }

  families(): readonly MetricFamily[] {
    return [...this.#families.values()]
  }

  #render(labels: Labels): string {
    return renderLabels({ ...this.#labels, ...labels })
  }

  #family(name: string, type: string, help: string): string[] {
    let family = this.#families.get(name)
    if (family === undefined) {
      family = { head: `# HELP ${name} ${help}\n# TYPE ${name} ${type}`, lines: [] }
      this.#families.set(name, family)
    }
    return family.lines
  }
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(String(value))}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
