/** A Waiter of its own process, for tests that kill it: opens a data directory, starts a service, says so, and stays. */
import { createExampleDefinition, SchedulerView } from '../../src/contract.ts'
import { createProcessScheduler } from '../../src/index.ts'

const [dataDir = '', cmd = '', count = '1'] = process.argv.slice(2)
const scheduler = await createProcessScheduler({ dataDir })
const view = new SchedulerView(scheduler)
await scheduler.create(createExampleDefinition('s', cmd), Number(count), { term: 3 })
const healthy = await view.untilHealthy('s', Number(count))
console.log(JSON.stringify(healthy))
