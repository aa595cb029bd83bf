import { createPrng } from '@waiter/base'
import type { LeaderLink, SuccessionRequest } from '@waiter/control'
import type { Entitlements, WithdrawalRecord } from '@waiter/services'
import { DEFAULT_EJECTION } from '@waiter/slots'
import { ServiceTable } from '../../src/services/service-table.ts'
import { ReferenceRecorder } from '../../src/versions/reference-recorder.ts'
import { VersionChooser } from '../../src/versions/version-chooser.ts'

/** A chooser of versions with everything around it in the test's hands. */
export function createVersions(entitlements: Entitlements, nowMs: () => number = Date.now) {
  const references = new ReferenceRecorder()
  const wanted: SuccessionRequest[] = []
  const withdrawals = new Map<string, WithdrawalRecord>()
  const link: { leader: LeaderLink['leader']; wantSuccession: LeaderLink['wantSuccession'] } = {
    leader: { isConnected: true, leaderId: 'node-1', term: 1 },
    wantSuccession: request => {
      wanted.push(request)
    },
  }
  const table = createTable(references)
  const versions = new VersionChooser({
    table,
    findWithdrawals: token => withdrawals.get(token),
    entitlements,
    references,
    leader: () => link,
    nowMs,
  })
  return { versions, table, references, wanted, withdrawals, link }
}

export function createTable(references: ReferenceRecorder = new ReferenceRecorder()): ServiceTable {
  return new ServiceTable({
    ejection: DEFAULT_EJECTION,
    random: createPrng(1),
    onInstanceRetired: () => undefined,
    references,
    successions: () => [],
  })
}
