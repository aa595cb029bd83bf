import { WaiterError } from '@waiter/base'
import { z } from 'zod'

/** A query parameter: all its values in, one checked value out. Absent ones are undefined unless it has a default. */
export type QueryParameter = z.ZodType<unknown, readonly string[] | undefined>
export type QueryShape = Readonly<Record<string, QueryParameter>>
export type QueryOf<Shape extends QueryShape> = { readonly [Key in keyof Shape]: z.output<Shape[Key]> }

/** Longest value of one parameter. */
const VALUE_CHARS_MAX = 2048
/** Values of all parameters together. */
const VALUES_MAX = 100

const values = z.array(z.string()).readonly()
const last = values.transform(given => given.at(-1) ?? '')

/** The last value as it is. */
export const text = (description: string): z.ZodType<string | undefined, readonly string[] | undefined> =>
  last.pipe(z.string().meta({ description })).optional()

/** `true` or anything else, as the original reads it; absent is false. */
export const flag = (description: string): z.ZodType<boolean, readonly string[] | undefined> =>
  values
    .optional()
    .transform(given => given?.at(-1) === 'true')
    .pipe(z.boolean().meta({ description }))

/** A whole number in decimal digits. */
export function integer(
  name: string,
  description: string,
  max = 2_147_483_647,
): z.ZodType<number | undefined, readonly string[] | undefined> {
  const message = `${name} must be an integer`
  return last
    .transform(given => (/^\d{1,15}$/.test(given) ? Number(given) : Number.NaN))
    .pipe(z.int({ error: message }).min(0).max(max, `${name} must be at most ${max}`).meta({ description }))
    .optional()
}

/** `include=a&include=b`, also `include=a,b`: which of these are asked for. Others are ignored, as in the original. */
export const include = (
  name: string,
  supported: readonly string[],
): z.ZodType<ReadonlySet<string>, readonly string[] | undefined> =>
  values
    .optional()
    .transform((given): ReadonlySet<string> => new Set((given ?? []).flatMap(value => value.split(','))))
    .pipe(
      z
        .custom<ReadonlySet<string>>(value => value instanceof Set)
        .meta({ type: 'array', items: { type: 'string', enum: [...supported] }, description: `${name}: what to add.` }),
    )

/**
 * Reads the query. Names that the shape does not know are left to the handler.
 *
 * @throws WaiterError WTR_BAD_REQUEST with what is wrong
 */
export function parseQuery<Shape extends QueryShape>(
  given: ReadonlyMap<string, readonly string[]>,
  shape: Shape,
): QueryOf<Shape> {
  let count = 0
  for (const [name, all] of given) {
    count += all.length
    if (count > VALUES_MAX) throw badRequest(`The query has more than ${VALUES_MAX} parameters`)
    if (name.length > VALUE_CHARS_MAX || all.some(value => value.length > VALUE_CHARS_MAX))
      throw badRequest(`A query parameter is longer than ${VALUE_CHARS_MAX} characters`)
  }
  const parsed: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(shape)) {
    const result = schema.safeParse(given.get(name))
    if (!result.success) throw badRequest(result.error.issues[0]?.message ?? `${name} is not what it must be`)
    parsed[name] = result.data
  }
  return parsed as QueryOf<Shape>
}

/** A refusal of what the client sent. */
export function badRequest(message: string, details: Readonly<Record<string, unknown>> = {}): WaiterError {
  return new WaiterError(message, { code: 'WTR_BAD_REQUEST', status: 400, details })
}
