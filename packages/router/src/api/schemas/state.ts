import { z } from 'zod'

/** `/state/…`: whose view it is, and the view. */
export const stateSchema: z.ZodType = z.strictObject({ 'router-id': z.string(), state: z.looseObject({}) })

/** `/state`: what there is to look at. */
export const stateIndexSchema: z.ZodType = z.strictObject({
  details: z.record(z.string(), z.string()),
  'router-id': z.string(),
  routers: z.record(z.string(), z.string()),
})
