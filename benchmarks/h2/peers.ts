import { type ChildProcess, execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../packages/testkit/src/index.ts'
import { type Contestant, findCommand, type Skipped, startPinned, stopChild } from '../proxy/contestant.ts'
import { familyOf } from '../proxy/cpu.ts'

/** What a peer joins: HTTP/2 clients, and a backend that speaks this. */
export interface Http2PeerOptions {
  readonly backendPort: number
  readonly backend: 'h1' | 'h2'
  readonly directory: string
  readonly hasLog: boolean
}

/** HAProxy with one thread; HTTP/2 with prior knowledge on both sides, or HTTP/1.1 with shared connections behind. */
export async function startHaproxy({
  backendPort,
  backend,
  directory,
  hasLog,
}: Http2PeerOptions): Promise<Contestant | Skipped> {
  const command = findCommand('haproxy')
  if (command === undefined) return { name: 'haproxy', reason: 'HAProxy is not installed (apt-get install haproxy)' }
  const name = hasLog ? 'haproxy+log' : 'haproxy'
  const port = await freePort()
  const file = join(directory, `${name}-${backend}.cfg`)
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8192
  tune.h2.max-concurrent-streams 256
${hasLog ? '  log stdout format raw local0\n' : ''}defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
${hasLog ? '  log global\n  option httplog\n' : ''}frontend bench
  bind 127.0.0.1:${port} backlog 4096 proto h2
  option forwardfor
  unique-id-format %{+X}o\\ %ci%cp%Ts%rt%pid
  unique-id-header X-Request-Id
  http-response set-header X-Request-Id %[unique-id]
  default_backend bench
backend bench
  server one 127.0.0.1:${backendPort} pool-max-conn 1024${backend === 'h2' ? ' proto h2' : ''}
`,
  )
  return await start({ name, command, args: ['-db', '-f', file], port, directory })
}

/** nginx with one worker: it speaks HTTP/2 to clients only. */
export async function startNginx({ backendPort, directory }: Http2PeerOptions): Promise<Contestant | Skipped> {
  const command = findCommand('nginx')
  if (command === undefined) return { name: 'nginx', reason: 'nginx is not installed (apt-get install nginx-light)' }
  const port = await freePort()
  const file = join(directory, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 8192; multi_accept on; }
http {
  access_log off;
  tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 60s;
  http2_max_concurrent_streams 256;
  client_body_temp_path ${directory}/1; proxy_temp_path ${directory}/2;
  fastcgi_temp_path ${directory}/3; uwsgi_temp_path ${directory}/4; scgi_temp_path ${directory}/5;
  upstream backend { server 127.0.0.1:${backendPort}; keepalive 1024; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096 http2;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-Id $request_id;
      add_header X-Request-Id $request_id;
    }
  }
}
`,
  )
  return await start({ name: 'nginx', command, args: ['-c', file, '-p', directory], port, directory })
}

async function start(options: {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly port: number
  readonly directory: string
}): Promise<Contestant> {
  const { name, command, args, port, directory } = options
  const child: ChildProcess = await startPinned({
    command,
    args,
    port,
    stdoutFile: join(directory, `${name}-${port}.out`),
  })
  // Once a request is answered, the workers exist.
  const { stdout } = await promisify(execFile)('h2load', ['-n1', '-c1', `http://127.0.0.1:${port}/`], {
    timeout: 10_000,
  })
  if (!stdout.includes('1 succeeded')) throw new Error(`${name} does not answer:\n${stdout}`)
  return { name, port, pids: familyOf(child.pid as number), stop: () => stopChild(child) }
}
