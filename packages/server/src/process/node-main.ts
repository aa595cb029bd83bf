/** A node of a cluster of several on one machine: started by the launcher, told what to do over IPC. */
import { startNode } from '../node.ts'
import type { NodeStart } from './messages.ts'
import { runChild } from './run-child.ts'

runChild<NodeStart>('start-node', async (message, log) => {
  const node = await startNode(message, log)
  return { address: node.http, secureAddress: node.https, stop: graceMs => node.stop(graceMs) }
})
