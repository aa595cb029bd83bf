/** A promise of the cluster that was broken. */
export class Violation extends Error {
  readonly check: string

  constructor(check: string, message: string) {
    super(message)
    this.check = check
  }
}
