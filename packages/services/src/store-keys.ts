/** Where what must survive lives in the store: `<prefix><name>`. Routers and leaders agree on it. */
export const STORE_PREFIXES = {
  /** Token name → `TokenRecord`. */
  tokens: 'tokens/',
  /** Service id → `OverridesRecord`. */
  overrides: 'overrides/',
  /** Service id → `SuspensionRecord`. */
  suspensions: 'suspensions/',
  /** Token name → `WithdrawalRecord`. */
  withdrawals: 'withdrawals/',
} as const
