/** Something that must never be has been seen. Ends the run. */
export class Violation extends Error {
  override readonly name: string = 'Violation'
  /** Which check noticed. */
  readonly check: string

  constructor(check: string, message: string) {
    super(message)
    this.check = check
  }
}
