import { spawn } from 'node:child_process'

/** Cleans up behind a test that dies without doing so. */
export interface Guard {
  /** The test has cleaned up by itself. */
  dismiss(): void
}

/**
 * Waits until the test process is gone, however it went (its end of the pipe closes), then kills what belongs to the
 * directory: programs with it, or with a directory in it, as an argument (Waiter's own processes; a browser by its
 * profile), and instances by their environment.
 */
const SCRIPT = `
cat >/dev/null
for round in 1 2; do
  for process in /proc/[0-9]*; do
    pid=\${process#/proc/}
    [ "$pid" = $$ ] && continue
    if tr '\\0' '\\n' <"$process/cmdline" 2>/dev/null | grep -qxE -- "(--user-data-dir=)?$1(/[^/]*)?" ||
      tr '\\0' '\\n' <"$process/environ" 2>/dev/null | grep -qF -- "WAITER_SANDBOX=$1/"
    then kill -9 "$pid" 2>/dev/null; fi
  done
done
if [ "$2" = own ]; then rm -rf -- "$1"; fi
`

/** @param isOwn the directory was made for the test and goes with it */
export function startGuard(directory: string, isOwn: boolean): Guard {
  const guard = spawn('/bin/sh', ['-c', SCRIPT, 'waiter-guard', directory, isOwn ? 'own' : 'kept'], {
    detached: true, // a Ctrl-C in the terminal must not reach it before it is needed
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  // The pipe must not keep the test alive either.
  const pipe = guard.stdin as unknown as { unref(): void }
  pipe.unref()
  return { dismiss: () => void guard.kill('SIGKILL') }
}
