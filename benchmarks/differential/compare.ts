import type { OddCase } from './generate.ts'
import type { Observation, SeenRequest } from './observation.ts'
import type { Reading } from './strict-reading.ts'

/** In what two proxies differ. */
export type Aspect =
  | 'refused by Waiter only'
  | 'refused by the peer only'
  | 'requests seen by the backend'
  | 'status of the refusal'
  | 'statuses'
  | 'start line'
  | 'framing'
  | 'body'
  | 'fields'
  | 'end of the connection'

/** One difference between Waiter and a peer over one case. */
export interface Difference {
  readonly aspect: Aspect
  /** What Waiter did, and what the peer did. */
  readonly waiter: string
  readonly peer: string
  /** The field that differs, if it is one. */
  readonly fieldName: string
}

/** A case with everything that is known about it. */
export interface Subject {
  readonly oddCase: OddCase
  readonly reading: Reading
  readonly waiter: Observation
  readonly peer: Observation
}

/** Everything in which the two differ, the weightiest first; nothing is compared behind a different verdict. */
export function compare({ waiter, peer }: Subject): Difference[] {
  const mine = verdictOf(waiter)
  const theirs = verdictOf(peer)
  const difference = (aspect: Aspect, one: string, other: string): Difference => ({
    aspect,
    waiter: one,
    peer: other,
    fieldName: '',
  })
  const [tellMine, tellTheirs] = [tell(waiter), tell(peer)]
  if (mine.served !== theirs.served) {
    const isWaiterStricter = mine.served < theirs.served
    if (mine.refusal === undefined && theirs.refusal === undefined)
      return [difference('requests seen by the backend', tellMine, tellTheirs)]
    return [difference(isWaiterStricter ? 'refused by Waiter only' : 'refused by the peer only', tellMine, tellTheirs)]
  }
  if (mine.refusal !== undefined && complete(peer).length > complete(waiter).length)
    return [difference('refused by Waiter only', tellMine, tellTheirs)]
  if ((mine.refusal === undefined) !== (theirs.refusal === undefined)) {
    return [
      difference(
        theirs.refusal === undefined ? 'refused by Waiter only' : 'refused by the peer only',
        tellMine,
        tellTheirs,
      ),
    ]
  }
  const found: Difference[] = []
  if (mine.refusal !== theirs.refusal)
    found.push(difference('status of the refusal', String(mine.refusal), String(theirs.refusal)))
  const [seenByMine, seenByTheirs] = [complete(waiter), complete(peer)]
  if (seenByMine.length !== seenByTheirs.length)
    return [difference('requests seen by the backend', tellMine, tellTheirs)]
  for (const [index, request] of seenByMine.entries())
    found.push(...compareSeen(request, seenByTheirs[index] as SeenRequest))
  if (waiter.end !== peer.end) found.push(difference('end of the connection', waiter.end, peer.end))
  return found
}

/** What the two backends saw of one request. */
function compareSeen(mine: SeenRequest, theirs: SeenRequest): Difference[] {
  const found: Difference[] = []
  const note = (aspect: Aspect, waiter: string, peer: string, fieldName = ''): void => {
    if (waiter !== peer) found.push({ aspect, waiter, peer, fieldName })
  }
  const start = (seen: SeenRequest): string => `${seen.method} ${seen.target} ${seen.version}`
  note('start line', start(mine), start(theirs))
  note('framing', mine.framing, theirs.framing)
  note('body', mine.body, theirs.body)
  const [own, other] = [fieldsOf(mine), fieldsOf(theirs)]
  for (const name of new Set([...own.keys(), ...other.keys()])) {
    note('fields', own.get(name) ?? ABSENT, other.get(name) ?? ABSENT, name)
  }
  return found
}

/** Stands for the value of a field that is not there. */
export const ABSENT = '(absent)'

/** What Waiter adds by design, and what tells of framing, which is compared apart. */
const NOT_COMPARED = /^(?:x-waiter-.*|x-cid|via|authorization|content-length|transfer-encoding)$/

function fieldsOf({ fields }: SeenRequest): Map<string, string> {
  const found = new Map<string, string>()
  for (const [name, value] of fields) {
    if (NOT_COMPARED.test(name)) continue
    const earlier = found.get(name)
    found.set(name, earlier === undefined ? value : `${earlier} | ${value}`)
  }
  return found
}

export const complete = ({ seen }: Observation): SeenRequest[] => seen.filter(({ isComplete }) => isComplete)

interface Verdict {
  /** Answers that came from the backend. */
  readonly served: number
  /** The proxy's own error, if it ended with one; 0 when it closed without a word. */
  readonly refusal: number | undefined
}

function verdictOf({ statuses, nonsense }: Observation): Verdict {
  const served = statuses.findIndex(status => status !== 200)
  if (served >= 0) return { served, refusal: statuses[served] }
  return { served: statuses.length, refusal: nonsense === '' ? undefined : 0 }
}

function tell(observation: Observation): string {
  const { statuses, end, nonsense } = observation
  const seen = complete(observation).map(({ method, target }) => `${method} ${target}`.slice(0, 40))
  return `${statuses.join(' ') || 'no answer'}${nonsense === '' ? '' : ` nonsense (${nonsense.slice(0, 60)})`}, ${end}; backend saw ${seen.join(', ') || 'nothing'}`
}
