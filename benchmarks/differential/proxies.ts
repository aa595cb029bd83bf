import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually, freePort, request, startWaiter } from '../../packages/testkit/src/index.ts'
import { findCommand } from '../proxy/contestant.ts'
import type { SeenRequest } from './observation.ts'
import { TOKEN } from './odd-request.ts'

const BACKEND = fileURLToPath(new URL('recording-backend.ts', import.meta.url))

/** A proxy in front of a backend that writes down what it receives. */
export interface StartedProxy {
  readonly name: string
  readonly port: number
  /** Everything that its backend has received so far. */
  seen(): readonly SeenRequest[]
  stop(): Promise<void>
}

/** Waiter as `npm start` has it; the backend is an instance that it runs. */
export async function startWaiterProxy(directory: string): Promise<StartedProxy> {
  const file = join(directory, 'waiter.jsonl')
  writeFileSync(file, '')
  const waiter = await startWaiter()
  try {
    const description = {
      cmd: `exec '${process.execPath}' '${BACKEND}' $PORT0 '${file}'`,
      version: '1',
      cpus: 0.1,
      mem: 512,
      'concurrency-level': 1000,
      'min-instances': 1,
      'max-instances': 1,
      'health-check-url': '/status',
    }
    const posted = await waiter.request({
      method: 'POST',
      path: `/token?token=${TOKEN}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(description),
    })
    if (posted.status !== 200) throw new Error(`no token for the backend: ${posted.status} ${posted.text}`)
    const first = await waiter.request({ path: '/first', headers: { 'x-waiter-token': TOKEN } })
    if (first.status !== 200) throw new Error(`the backend is not there: ${first.status} ${first.text}`)
  } catch (error) {
    await waiter.stop()
    throw error
  }
  return { name: 'Waiter', port: waiter.port, seen: () => readSeen(file), stop: () => waiter.stop() }
}

/** HAProxy as Debian configures it, with kept connections on both sides; undefined when it is not installed. */
export async function startHaproxy(directory: string): Promise<StartedProxy | undefined> {
  const command = findCommand('haproxy')
  if (command === undefined) return undefined
  const [port, backendPort] = [await freePort(), await freePort()]
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(
    file,
    `global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse safe
frontend odd
  bind 127.0.0.1:${port} backlog 1024
  default_backend odd
backend odd
  server one 127.0.0.1:${backendPort}
`,
  )
  return await startProxy('HAProxy', { directory, port, backendPort, command, args: ['-db', '-f', file] })
}

/** nginx as a reverse proxy that streams and keeps connections; undefined when it is not installed. */
export async function startNginx(directory: string): Promise<StartedProxy | undefined> {
  const command = findCommand('nginx')
  if (command === undefined) return undefined
  const [port, backendPort] = [await freePort(), await freePort()]
  const file = join(directory, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${directory}/nginx-${name};`,
  )
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events { worker_connections 4096; }
http {
  access_log off; tcp_nodelay on; ${temporary.join(' ')}
  upstream backend { server 127.0.0.1:${backendPort}; keepalive 64; }
  server {
    listen 127.0.0.1:${port} backlog=1024;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_buffering off; proxy_ignore_client_abort on;
    }
  }
}
`,
  )
  return await startProxy('nginx', { directory, port, backendPort, command, args: ['-c', file, '-p', directory] })
}

interface ProxyParts {
  readonly directory: string
  readonly port: number
  readonly backendPort: number
  readonly command: string
  readonly args: readonly string[]
}

async function startProxy(name: string, parts: ProxyParts): Promise<StartedProxy> {
  const file = join(parts.directory, `${name}.jsonl`)
  writeFileSync(file, '')
  const children: ChildProcess[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(stopChild))
  }
  try {
    children.push(spawn(process.execPath, [BACKEND, String(parts.backendPort), file], { stdio: 'ignore' }))
    children.push(spawn(parts.command, parts.args, { stdio: 'ignore' }))
    await eventually(async () => {
      const { status } = await request({ port: parts.port, path: '/first' })
      return status === 200 || undefined
    }, `${name} to serve`)
  } catch (error) {
    await stop()
    throw error
  }
  return { name, port: parts.port, seen: () => readSeen(file), stop }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const STOP_MS_MAX = 3_000
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
  await gone
  clearTimeout(timer)
}

function readSeen(file: string): SeenRequest[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as SeenRequest)
}
