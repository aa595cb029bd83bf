import { cliError } from '../errors.ts'
import type { CliConfig, Cluster } from './cluster.ts'
import { parseClusterUrl } from './cluster-url.ts'

/** Which clusters a command is about: `--url`, else `--cluster`, else all that are configured. */
export function chooseClusters(
  config: CliConfig,
  wanted: { readonly cluster?: string | undefined; readonly url?: string | undefined },
): readonly Cluster[] {
  const { cluster: name, url } = wanted
  if (name !== undefined && url !== undefined) throw cliError('usage', 'give either --cluster or --url, not both')
  if (url !== undefined) {
    const parsed = parseClusterUrl(url)
    if (!parsed.ok) throw cliError('usage', `--url ${parsed.error}`)
    return [{ name: parsed.value, url: parsed.value, credentials: config.credentials, isDefaultForCreate: false }]
  }
  if (name === undefined) return config.clusters
  const found =
    config.clusters.find(cluster => cluster.name === name) ??
    config.clusters.find(cluster => cluster.name.toLowerCase() === name.toLowerCase())
  if (found !== undefined) return [found]
  const names = config.clusters.map(cluster => cluster.name).join(', ')
  throw cliError('usage', `there is no cluster named ${JSON.stringify(name)}; configured: ${names}`)
}
