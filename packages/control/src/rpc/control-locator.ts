/** Where the control nodes are, for those who call them. All addresses are `host:port`. */
export interface ControlLocator {
  /** Of the leader, as far as is known; it may be gone. */
  leader(): string | undefined
  /** Of whom to ask when any control node will do: the leader if it is reachable, else another that is. */
  any(): string
  /** Whether somebody else may lead after this one. */
  readonly hasOthers: boolean
  /** Calls the listener when another one leads. @returns what ends that */
  onLeader(listener: () => void): () => void
}

/** The only control node there is. */
export function onlyControl(address: string): ControlLocator {
  return { leader: () => address, any: () => address, hasOthers: false, onLeader: () => () => undefined }
}

/** Resolves when another one leads, or after `ms`. */
export function leaderChange(locator: ControlLocator, ms: number): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => {
      clearTimeout(timer)
      unsubscribe()
      resolve()
    }
    const timer = setTimeout(end, ms)
    const unsubscribe = locator.onLeader(end)
  })
}
