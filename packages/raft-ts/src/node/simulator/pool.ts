import { Worker } from 'node:worker_threads'
import type { SeedJob, SeedReport } from './jobs.ts'

/** Worker threads that take one job at a time. */
export class WorkerPool implements AsyncDisposable {
  readonly #workers: readonly Worker[]

  constructor(size: number) {
    const url = new URL('./worker.ts', import.meta.url)
    this.#workers = Array.from({ length: size }, () => new Worker(url))
  }

  /** Runs all jobs; `onReport` may stop the rest by returning false. */
  async run(jobs: Iterator<SeedJob>, onReport: (report: SeedReport) => boolean): Promise<void> {
    let isStopped = false
    const feed = async (worker: Worker): Promise<void> => {
      for (;;) {
        const job = isStopped ? undefined : jobs.next()
        if (job === undefined || job.done === true) return
        const report = await ask(worker, job.value)
        if (!onReport(report)) isStopped = true
      }
    }
    await Promise.all(this.#workers.map(feed))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map(worker => worker.terminate()))
  }
}

function ask(worker: Worker, job: SeedJob): Promise<SeedReport> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(error)
    worker.once('error', onError)
    worker.once('message', (report: SeedReport) => {
      worker.off('error', onError)
      resolve(report)
    })
    worker.postMessage(job)
  })
}
