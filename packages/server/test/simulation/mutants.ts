import type { LeaderSettings } from '@waiter/control'
import type { AttachRequest, AttachResponse } from '../../../control/src/generated/waiter/v1/coordinator.ts'
import type { BorrowRequest, BorrowResponse } from '../../../control/src/generated/waiter/v1/router.ts'

/**
 * A bug planted on purpose, to prove that the checks see. Production code has no switches for that: each is planted
 * where a part meets the others, so that what they see is what they would see of a part with that bug.
 */
export interface Mutant {
  readonly name: string
  readonly story: string
  /** The check that must see it: what else goes wrong does not count. */
  readonly shownBy: string
  /** The leader as routers hear it. */
  readonly leaderSays?: (message: AttachResponse, forge: (message: AttachRequest) => void) => readonly AttachResponse[]
  /** A router as the leader hears it; with how much it has said to this leader before. */
  readonly routerSays?: (message: AttachRequest, saidBefore: number) => readonly AttachRequest[]
  readonly lenderSays?: (message: BorrowResponse, forge: (message: BorrowRequest) => void) => readonly BorrowResponse[]
  readonly borrowerSays?: (message: BorrowRequest) => readonly BorrowRequest[]
  readonly settings?: Partial<LeaderSettings>
  /** A new leader finds no routers in the store. */
  readonly isForgetful?: boolean
  /** A new leader finds routers in the store that were struck off. */
  readonly isUnforgetting?: boolean
  /** A new leader does not claim the scheduler. */
  readonly isUnclaimed?: boolean
  readonly ignoresFences?: boolean
  /** One in so many requests never gives its slot back. */
  readonly losesReleaseEvery?: number
  /** Routers take every leader for one of their own term, and a leader does not notice that it is alone. */
  readonly believesAnyTerm?: boolean
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'sent-is-heard',
    shownBy: 'slots',
    story: 'The leader takes an assignment for acknowledged when it is sent, with nothing in use.',
    leaderSays: (response, forge) => {
      if (response.message?.$case === 'assignment') {
        const { term, version, upserts } = response.message.value
        const services = upserts.map(({ serviceId }) => ({ serviceId, instances: [] }))
        forge({ message: { $case: 'ack', value: { term, version, services } } })
      }
      return [response]
    },
  },
  {
    name: 'silent-use',
    shownBy: 'slots',
    story: 'A router acknowledges that it has let go and does not say what still runs.',
    routerSays: request => {
      if (request.message?.$case !== 'ack') return [request]
      const { value } = request.message
      const services = value.services.map(({ serviceId }) => ({ serviceId, instances: [] }))
      return [{ message: { $case: 'ack', value: { ...value, services } } }]
    },
  },
  {
    name: 'no-beliefs',
    shownBy: 'slots',
    story: 'A router does not tell a new leader which slots it works from.',
    routerSays: request => {
      if (request.message?.$case !== 'hello') return [request]
      return [{ message: { $case: 'hello', value: { ...request.message.value, beliefs: [] } } }]
    },
  },
  {
    name: 'not-awaited',
    shownBy: 'slots',
    story: 'A new leader does not wait for the routers that its predecessor had.',
    isForgetful: true,
    settings: { settleMs: 0 },
  },
  {
    name: 'hasty-leader',
    shownBy: 'scale-down',
    story: 'A new leader scales down before it has heard all, and hears some of them late.',
    settings: { settleMs: 0 },
    routerSays: (request, saidBefore) => (request.message?.$case === 'report' && saidBefore < 8 ? [] : [request]),
  },
  {
    name: 'lent-not-counted',
    shownBy: 'slots',
    story: 'A lender counts a slot as free again as soon as it is lent.',
    lenderSays: (response, forge) => {
      const returns = response.grants.map(({ grantId }) => ({ grantId, status: 'unused', latencyMs: 0 }))
      forge({ hello: undefined, needs: [], returns, goodbye: false })
      return [response]
    },
  },
  {
    name: 'returned-early',
    shownBy: 'slots',
    story: 'A borrower that comes back says that it holds nothing.',
    borrowerSays: request =>
      request.hello === undefined ? [request] : [{ ...request, hello: { ...request.hello, heldGrantIds: [] } }],
  },
  {
    name: 'no-obituaries',
    shownBy: 'collected',
    story: 'Routers are not told that a lender is dead.',
    leaderSays: response => {
      if (response.message?.$case !== 'assignment') return [response]
      return [{ message: { $case: 'assignment', value: { ...response.message.value, deadRouterIds: [] } } }]
    },
  },
  {
    name: 'lost-release',
    shownBy: 'collected',
    story: 'A request in so many never gives its slot back.',
    losesReleaseEvery: 40,
  },
  {
    name: 'no-borrowing',
    shownBy: 'wait',
    story: 'Needs never reach the lender.',
    borrowerSays: request => [{ ...request, needs: [] }],
  },
  {
    name: 'needs-unheard',
    shownBy: 'served',
    story: 'The leader does not hear which services are needed.',
    routerSays: request => (request.message?.$case === 'needed' ? [] : [request]),
  },
  {
    name: 'impatient',
    shownBy: 'given up',
    story: 'The leader gives up a router whose stream broke a moment ago.',
    settings: { routerDeadAfterMs: 300 },
  },
  {
    name: 'no-fence',
    shownBy: 'fence',
    story: 'The scheduler carries out what a deposed leader orders.',
    ignoresFences: true,
    isUnclaimed: true,
  },
  {
    name: 'any-term',
    shownBy: 'agreed',
    story: 'A router follows whoever says that he leads, also in an older term.',
    believesAnyTerm: true,
  },
  {
    name: 'struck-off-is-believed',
    shownBy: 'slots',
    story: 'A new leader believes routers that an earlier one gave up.',
    isUnforgetting: true,
  },
]
