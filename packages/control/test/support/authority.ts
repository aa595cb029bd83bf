import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NodeTls } from '@waiter/control'
import type { Test } from 'tap'

/** Who signs certificates for a test. */
export interface Authority {
  issue(name: string): Pick<NodeTls, 'ca' | 'cert' | 'key'>
}

/** An authority made by the `openssl` command. */
export function createAuthority(t: Test): Authority {
  const directory = mkdtempSync(join(tmpdir(), 'waiter-ca-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const openssl = (line: string): unknown => execFileSync('openssl', line.split(' '), { stdio: 'pipe', cwd: directory })
  const read = (name: string): Buffer => readFileSync(join(directory, name))
  const curve = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
  openssl(`req -x509 ${curve} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem`)
  const ca = read('ca.pem')
  return {
    issue: name => {
      openssl(`req ${curve} -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`)
      writeFileSync(join(directory, 'extensions'), `subjectAltName=DNS:${name}\n`)
      openssl(
        `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out ${name}.pem`,
      )
      return { ca, cert: read(`${name}.pem`), key: read(`${name}.key`) }
    },
  }
}
