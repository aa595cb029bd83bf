import type { Member } from '@waiter/gossip'
import type { GossipMember } from './gossip-member.ts'
import { aboutOf, type RouterGossip } from './router-gossip.ts'
import { EJECTED_PREFIX, LOAD_PREFIX, LOOP_KEY, parseLoad, parseObservation } from './row.ts'

type Json = Record<string, unknown>

/** `/state/gossip`: who is there and what each says, as this router has heard it. */
export function renderGossip(
  gossip: RouterGossip | undefined,
  show: { readonly hasLoads: boolean; readonly nowMs: number },
): Json {
  const member = gossip?.member
  if (gossip === undefined || member === undefined) return { 'enabled?': gossip !== undefined, 'member?': false }
  const { viewHash, rowsHash, localHealth, incarnation, ...counts } = member.status()
  return {
    'enabled?': true,
    'member?': true,
    id: member.id,
    address: member.address,
    incarnation,
    'local-health': localHealth,
    'view-hash': viewHash,
    'rows-hash': rowsHash,
    self: rowOf(member, member.id, show.hasLoads),
    members: Object.fromEntries(
      member
        .members()
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
        .map(other => [other.id, { ...standingOf(other, show.nowMs), ...rowOf(member, other.id, show.hasLoads) }]),
    ),
    advice: { heard: gossip.advice.size, unshared: gossip.unshared },
    counts: Object.fromEntries(Object.entries(counts).map(([name, value]) => [dashed(name), value])),
  }
}

function standingOf({ state, address, sinceMs, incarnation }: Member, nowMs: number): Json {
  return { state, address, incarnation, since: new Date(Date.now() + sinceMs - nowMs).toISOString() }
}

function rowOf(member: GossipMember, id: string, hasLoads: boolean): Json {
  const about = aboutOf(member, id)
  const loop = Number(member.entries(id, LOOP_KEY)[0]?.value ?? Number.NaN)
  const loads = hasLoads ? { loads: loadsOf(member, id) } : {}
  return {
    'router-id': about?.routerId ?? null,
    node: about?.nodeId ?? null,
    version: about?.version ?? null,
    'http-url': about?.httpUrl ?? null,
    'peer-address': about?.peerAddress ?? null,
    'loop-delay-p99-ms': Number.isFinite(loop) ? loop : null,
    ejected: ejectedOf(member, id),
    ...loads,
  }
}

function ejectedOf(member: GossipMember, id: string): Json {
  return Object.fromEntries(
    member.entries(id, EJECTED_PREFIX).flatMap(({ key, value, ttlMs }) => {
      const said = parseObservation(value)
      if (said === undefined) return []
      const { serviceId, failures } = said
      const instanceId = key.slice(EJECTED_PREFIX.length)
      return [[instanceId, { 'service-id': serviceId, failures, 'remaining-ms': Math.round(ttlMs) }]]
    }),
  )
}

function loadsOf(member: GossipMember, id: string): Json {
  return Object.fromEntries(
    member.entries(id, LOAD_PREFIX).map(({ key, value }) => [key.slice(LOAD_PREFIX.length), parseLoad(value) ?? null]),
  )
}

function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}
