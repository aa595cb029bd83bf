import { fileURLToPath } from 'node:url'
import { fastKitchenCommand, type StartedWaiter, type TestResponse } from '@waiter/testkit'

/** A service description under its wire names. */
export type Description = Readonly<Record<string, unknown>>

/** A small service that needs nothing of its own; any part may be replaced. */
export function describeService(cmd: string, changes: Description = {}): Description {
  return { cmd, cpus: 0.1, mem: 256, version: '1', ...changes }
}

/** The quickest hello-world there is. `name` makes it a service of its own. */
export function helloService(name: string, changes: Description = {}): Description {
  return describeService(fastKitchenCommand(), { name, ...changes })
}

/** The backend that tells how it was treated: see `witness.ts`. */
export function witnessService(name: string, reportFile: string, changes: Description = {}): Description {
  const script = fileURLToPath(new URL('witness.ts', import.meta.url))
  return describeService(`exec '${process.execPath}' '${script}' $PORT0 '${reportFile}'`, { name, ...changes })
}

/** A description as `x-waiter-` headers, for a request without a token. */
export function onTheFly(description: Description): Record<string, string> {
  return Object.fromEntries(
    Object.entries(description).map(([name, value]) => [
      `x-waiter-${name}`,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  )
}

/** Registers a token; throws unless that succeeds. */
export async function postToken(waiter: StartedWaiter, token: string, body: Description): Promise<TestResponse> {
  const post = () =>
    waiter.request({
      method: 'POST',
      path: `/token?token=${token}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  let answer = await post()
  // On a very busy machine the control nodes may be electing: the answer says to try again, and so does a user.
  for (let again = 0; again < 2 && answer.text.includes('WTR_STORE_UNAVAILABLE'); again++) answer = await post()
  if (answer.status !== 200) throw new Error(`POST /token?token=${token} answered ${answer.status}: ${answer.text}`)
  return answer
}

/** The id of the service that a request with these headers means. */
export async function serviceIdOf(waiter: StartedWaiter, headers: Record<string, string>): Promise<string> {
  const answer = await waiter.request({ path: '/service-id', headers })
  if (answer.status !== 200) throw new Error(`GET /service-id answered ${answer.status}: ${answer.text}`)
  return answer.text
}

/** The `waiter-error` of an error answer in JSON. */
// biome-ignore lint/suspicious/noExplicitAny: a wrong guess about the shape fails the test.
export function errorOf(answer: TestResponse): any {
  return JSON.parse(answer.text)['waiter-error']
}
