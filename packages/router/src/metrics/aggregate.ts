type Json = { readonly [name: string]: unknown }

/**
 * Sums what several routers measured of one service (spec §4.3): counters and meters add up, except those that speak of the whole cluster, quantiles are averaged by
 * how many values stand behind them, which is an estimate.
 *
 * @example aggregateMetrics([{ counters: { total: 1 } }, { counters: { total: 2 } }]) // { counters: { total: 3 } }
 */
export function aggregateMetrics(parts: readonly Json[]): Record<string, unknown> {
  const names = new Set(parts.flatMap(part => Object.keys(part)))
  return Object.fromEntries(
    [...names].map(name => [
      name,
      combine(
        name,
        parts.map(part => part[name]),
      ),
    ]),
  )
}

/** What every router says of the whole cluster: these do not add up. */
const CLUSTER_FIGURES: ReadonlySet<string> = new Set(['healthy', 'unhealthy'])

function combine(name: string, given: readonly unknown[]): unknown {
  const values = given.filter(value => value !== undefined && value !== null)
  if (values.every(value => typeof value === 'number'))
    return CLUSTER_FIGURES.has(name) ? Math.max(0, ...values) : values.reduce((sum, value) => sum + value, 0)
  const objects = values.filter(isObject)
  return objects.every(isHistogram) && objects.length > 0 ? combineHistograms(objects) : aggregateMetrics(objects)
}

interface Histogram extends Json {
  readonly count: number
  readonly value: Readonly<Record<string, number>>
}

function combineHistograms(parts: readonly Histogram[]): Histogram {
  const count = parts.reduce((sum, part) => sum + part.count, 0)
  const names = new Set(parts.flatMap(part => Object.keys(part.value)))
  const value = [...names].map((name): [string, number] => {
    const known = parts.filter(part => Object.hasOwn(part.value, name))
    const weight = known.reduce((sum, part) => sum + part.count, 0)
    const sum = known.reduce((total, part) => total + (part.value[name] ?? 0) * part.count, 0)
    if (name === '0.0') return [name, Math.min(...known.map(part => part.value[name] ?? 0))]
    if (name === '1.0') return [name, Math.max(...known.map(part => part.value[name] ?? 0))]
    return [name, weight === 0 ? 0 : sum / weight]
  })
  return { count, value: Object.fromEntries(value) }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isHistogram(value: Json): value is Histogram {
  return typeof value['count'] === 'number' && isObject(value['value'])
}
