import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Who signs, and what it has signed. */
export interface Authority {
  readonly ca: string
  issue(name: string): { readonly key: string; readonly cert: string }
}

/** An authority for a test, made by the `openssl` command. */
export function createAuthority(): Authority & { remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'raft-ca-'))
  const path = (name: string): string => join(directory, name)
  const openssl = (line: string): unknown => execFileSync('openssl', line.split(' '), { stdio: 'pipe', cwd: directory })
  const curve = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
  openssl(`req -x509 ${curve} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem`)
  return {
    ca: readFileSync(path('ca.pem'), 'utf8'),
    issue: name => {
      openssl(`req ${curve} -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`)
      writeFileSync(path('extensions'), `subjectAltName=DNS:${name}\n`)
      openssl(
        `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out ${name}.pem`,
      )
      return { key: readFileSync(path(`${name}.key`), 'utf8'), cert: readFileSync(path(`${name}.pem`), 'utf8') }
    },
    remove: () => rmSync(directory, { recursive: true }),
  }
}
