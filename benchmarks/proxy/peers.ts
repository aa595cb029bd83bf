import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, request } from '../../packages/testkit/src/index.ts'
import { type Contestant, findCommand, type PinnedCommand, type Skipped, startPinned, stopChild } from './contestant.ts'
import { familyOf } from './cpu.ts'

const GO_SOURCE = fileURLToPath(new URL('go-proxy/main.go', import.meta.url))

/** What every peer is told. */
export interface PeerOptions {
  readonly backendPort: number
  /** For configurations, logs and binaries. */
  readonly directory: string
  readonly hasLog: boolean
}

/** nginx with one worker, tuned as its manual says: kept connections to the backend, buffers that hold a body. */
export async function startNginx({ backendPort, directory, hasLog }: PeerOptions): Promise<Contestant | Skipped> {
  const name = hasLog ? 'nginx+log' : 'nginx'
  const command = findCommand('nginx')
  if (command === undefined) return { name, reason: 'nginx is not installed (apt-get install nginx-light)' }
  const port = await freePort()
  const file = join(directory, `${name}.conf`)
  const log = hasLog ? `${directory}/${name}.access.log combined buffer=64k flush=1s` : 'off'
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${directory}/${name}.pid; error_log stderr crit;
events { worker_connections 8192; multi_accept on; }
http {
  access_log ${log};
  tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 60s;
  client_body_temp_path ${directory}/${name}-1; proxy_temp_path ${directory}/${name}-2;
  fastcgi_temp_path ${directory}/${name}-3; uwsgi_temp_path ${directory}/${name}-4; scgi_temp_path ${directory}/${name}-5;
  upstream backend { server 127.0.0.1:${backendPort}; keepalive 1024; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    client_body_buffer_size 64k;
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-Id $request_id;
      proxy_buffer_size 16k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
      add_header X-Request-Id $request_id;
    }
  }
}
`,
  )
  return await start(name, { command, args: ['-c', file, '-p', directory], port, directory })
}

/** HAProxy with one thread that shares its connections to the backend among all clients. */
export async function startHaproxy({ backendPort, directory, hasLog }: PeerOptions): Promise<Contestant | Skipped> {
  const name = hasLog ? 'haproxy+log' : 'haproxy'
  const command = findCommand('haproxy')
  if (command === undefined) return { name, reason: 'HAProxy is not installed (apt-get install haproxy)' }
  const port = await freePort()
  const file = join(directory, `${name}.cfg`)
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8192
${hasLog ? '  log stdout format raw local0\n' : ''}defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
${hasLog ? '  log global\n  option httplog\n' : ''}frontend bench
  bind 127.0.0.1:${port} backlog 4096
  option forwardfor
  unique-id-format %{+X}o\\ %ci%cp%Ts%rt%pid
  unique-id-header X-Request-Id
  http-response set-header X-Request-Id %[unique-id]
  default_backend bench
backend bench
  server one 127.0.0.1:${backendPort} pool-max-conn 1024
`,
  )
  return await start(name, { command, args: ['-db', '-f', file], port, directory })
}

/** Go's own reverse proxy, what most cloud-native activators are made of. */
export async function startGo({ backendPort, directory }: PeerOptions): Promise<Contestant | Skipped> {
  const name = 'go'
  const go = findCommand('go')
  if (go === undefined) return { name, reason: 'Go is not installed (apt-get install golang-go)' }
  const binary = join(directory, 'go-proxy')
  const env = { ...process.env, GOCACHE: join(directory, 'go-cache'), GO111MODULE: 'off' }
  execFileSync(go, ['build', '-o', binary, GO_SOURCE], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const port = await freePort()
  return await start(name, {
    command: binary,
    args: [`127.0.0.1:${port}`, `127.0.0.1:${backendPort}`],
    port,
    directory,
  })
}

async function start(
  name: string,
  { directory, ...options }: Omit<PinnedCommand, 'stdoutFile'> & { readonly directory: string },
): Promise<Contestant> {
  const child = await startPinned({ ...options, stdoutFile: join(directory, `${name}.out`) })
  // Once a request is answered, the workers exist.
  const { status } = await request({ port: options.port, path: '/' })
  if (status !== 200) throw new Error(`${name} answers ${status}`)
  return { name, port: options.port, pids: familyOf(child.pid as number), stop: () => stopChild(child) }
}
