import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGuard, waitForLine } from '@waiter/testkit'
import { findCommand } from '../../benchmarks/proxy/contestant.ts'

/** A headless Chromium, driven through its DevTools protocol. */
export interface Browser {
  /** Opens a page and resolves with what the expression in it comes to (promises are awaited). */
  evaluate(url: string, expression: string): Promise<unknown>
  close(): Promise<void>
}

const START_MS_MAX = 60_000

/** @param flags added to those that make it quiet, for instance `--host-resolver-rules=…` */
export async function startBrowser(flags: readonly string[]): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'waiter-browser-'))
  const guard = startGuard(profile, true)
  const child = spawn(
    findCommand('chromium') ?? 'chromium',
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--no-proxy-server',
      `--user-data-dir=${profile}`,
      '--remote-debugging-port=0',
      ...flags,
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  )
  const close = async (): Promise<void> => {
    await stop(child)
    guard.dismiss()
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    const [, url] = await waitForLine(child.stderr, /DevTools listening on (ws:\S+)/, { timeoutMs: START_MS_MAX })
    child.stderr.resume()
    const call = await openDevTools(url as string)
    return { close, evaluate: (page, expression) => evaluate(call, page, expression) }
  } catch (error) {
    await close()
    throw error
  }
}

type Call = (method: string, parameters: object, sessionId?: string) => Promise<Record<string, unknown>>

async function openDevTools(url: string): Promise<Call> {
  const socket = new WebSocket(url)
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = () => reject(new Error('no connection to the browser'))
  })
  const pending = new Map<number, PromiseWithResolvers<Record<string, unknown>>>()
  let nextId = 1
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(String(data))
    const waiting = pending.get(id)
    pending.delete(id)
    if (error !== undefined) waiting?.reject(new Error(error.message))
    else waiting?.resolve(result)
  }
  return (method, parameters, sessionId) => {
    const answer = Promise.withResolvers<Record<string, unknown>>()
    pending.set(nextId, answer)
    socket.send(JSON.stringify({ id: nextId++, method, params: parameters, sessionId }))
    return answer.promise
  }
}

async function evaluate(call: Call, url: string, expression: string): Promise<unknown> {
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = (await call('Target.attachToTarget', { targetId, flatten: true })) as { sessionId: string }
  const { errorText } = await call('Page.navigate', { url }, sessionId)
  if (errorText !== undefined) throw new Error(`the browser cannot open ${url}: ${errorText}`)
  const wrapped = `new Promise(resolve => document.readyState === 'complete' ? resolve() : addEventListener('load', resolve)).then(() => ${expression})`
  const options = { expression: wrapped, awaitPromise: true, returnByValue: true }
  const { result, exceptionDetails } = (await call('Runtime.evaluate', options, sessionId)) as {
    result: { value: unknown; description?: string }
    exceptionDetails?: { exception?: { description?: string } }
  }
  if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description ?? 'the page threw')
  await call('Target.closeTarget', { targetId })
  return result.value
}

/** The browser has children: all of its group go. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'close')
  process.kill(-child.pid, 'SIGKILL')
  await gone
}
