/** As many as `auto` starts on a large machine: each is some 100 MiB, and as quick as nginx on its core. */
const AUTO_WORKERS_MAX = 8

/**
 * Router processes of each node.
 *
 * @param wanted `auto`: the nodes of this machine share its cores out
 * @param nodes of this machine
 */
export function countWorkers(wanted: number | 'auto', nodes: number, cores: number): number {
  if (wanted !== 'auto') return wanted
  return Math.min(AUTO_WORKERS_MAX, Math.max(1, Math.floor(cores / nodes)))
}
