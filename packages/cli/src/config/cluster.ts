/** How to prove who one is. */
export type Credentials =
  | { readonly kind: 'basic'; readonly user: string; readonly pass: string }
  | { readonly kind: 'bearer'; readonly key: string }

/** A Waiter that the command line knows. */
export interface Cluster {
  readonly name: string
  /** Without a slash at the end. */
  readonly url: string
  readonly credentials: Credentials | undefined
  /** New tokens go here when several clusters are configured. */
  readonly isDefaultForCreate: boolean
  /** Clusters of one group hold the same tokens: the one that changed a token last is where it is changed. */
  readonly syncGroup?: string | undefined
}

/** How requests are sent (`http` in the configuration). */
export interface HttpSettings {
  /** Further attempts when a connection fails, or a read is answered 503. */
  readonly retries: number
  readonly connectTimeoutMs: number
  /** So long may a Waiter be silent. */
  readonly readTimeoutMs: number
}

/** The configuration in force. */
export interface CliConfig {
  readonly http: HttpSettings
  readonly clusters: readonly Cluster[]
  /** For `--url`. */
  readonly credentials: Credentials | undefined
  /** For messages; undefined: there is no file. */
  readonly file: string | undefined
}
