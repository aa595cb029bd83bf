import t from 'tap'
import { keyValueStoreContract } from '../src/contract/index.ts'
import type { KeyValueStore, RaftStore } from '../src/index.ts'
import { RaftGroup, type RaftGroupOptions } from './support/raft-group.ts'

const watchQueueChangesMax = 16

/** The port's contract, asked of one member of a group; `close` ends the whole group with it. */
function runContract(
  label: string,
  options: RaftGroupOptions,
  pick: (group: RaftGroup) => Promise<RaftStore> | RaftStore,
) {
  t.test(label, async t => {
    const groups = new WeakMap<KeyValueStore, RaftGroup>()
    const wrap = async (group: RaftGroup): Promise<KeyValueStore> => {
      const member = await pick(group)
      const store: KeyValueStore = {
        get: key => member.get(key),
        compareAndSet: (key, expected, value) => member.compareAndSet(key, expected, value),
        list: prefix => member.list(prefix),
        watch: (prefix, signal) => member.watch(prefix, signal),
        close: async () => {
          await member.close()
          await group.closeAll()
        },
      }
      groups.set(store, group)
      return store
    }
    const subject = {
      watchQueueChangesMax,
      create: async () => wrap(await RaftGroup.start({ ...options, watchQueueChangesMax })),
      reopen: async (store: KeyValueStore) => {
        const group = groups.get(store)!
        await store.close()
        for (const id of group.ids) await group.open(id)
        return wrap(group)
      },
    }
    for (const { name, run } of keyValueStoreContract(subject)) await t.resolves(run(), `${label}: ${name}`)
  })
}

runContract('the leader of three', {}, group => group.leader())
runContract('a follower of three', {}, group => group.follower())
runContract('the only member', { ids: [1] }, group => group.leader())
