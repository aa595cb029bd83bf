import { type Logger, WaiterError } from '@waiter/base'
import {
  addWithdrawal,
  computeStaleness,
  type Descriptor,
  findWithdrawal,
  formerVersions,
  pruneWithdrawals,
  resolveDescriptor,
  type ServicesConfig,
  STORE_PREFIXES,
  type Staleness,
  type TokenRecord,
  type Withdrawal,
  type WithdrawalRecord,
} from '@waiter/services'
import { type KeyValueStore, StoreMirror } from '@waiter/store/port'
import type { ManagedService } from './managed-service.ts'

const CONFLICTS_MAX = 10

export interface TokenKnowledgeOptions {
  readonly store: KeyValueStore
  readonly services: ServicesConfig
  /** What is known of a token has changed. */
  readonly onChange: (token: string) => void
  readonly log: Logger
}

/** What the leader knows of tokens: their records, and which of their versions were withdrawn. */
export class TokenKnowledge {
  readonly #options: TokenKnowledgeOptions
  readonly #tokens: StoreMirror<TokenRecord>
  readonly #withdrawals: StoreMirror<WithdrawalRecord>

  constructor(options: TokenKnowledgeOptions) {
    const { store, log, onChange } = options
    this.#options = options
    this.#tokens = new StoreMirror({
      store,
      prefix: STORE_PREFIXES.tokens,
      parse: text => JSON.parse(text) as TokenRecord,
      onChange: token => {
        onChange(token)
        this.#prune(token)
      },
      log,
    })
    this.#withdrawals = new StoreMirror({
      store,
      prefix: STORE_PREFIXES.withdrawals,
      parse: text => JSON.parse(text) as WithdrawalRecord,
      onChange,
      log,
    })
  }

  async run(): Promise<void> {
    await Promise.all([this.#tokens.run(), this.#withdrawals.run()])
  }

  stop(): void {
    this.#tokens.stop()
    this.#withdrawals.stop()
  }

  /** Undefined while tokens are not known yet: nothing may be taken for superseded then. */
  staleness(service: ManagedService): Staleness | undefined {
    if (!this.#tokens.isSynced || !this.#withdrawals.isSynced) return undefined
    return computeStaleness({
      serviceId: service.id,
      references: service.references(),
      findToken: name => this.#tokens.find(name),
      findWithdrawals: name => this.#withdrawals.find(name),
      config: this.#options.services,
    })
  }

  isWithdrawn(service: ManagedService): boolean {
    return service.sourceTokens.some(
      tokens => findWithdrawal({ serviceId: service.id, tokens }, name => this.#withdrawals.find(name)) !== undefined,
    )
  }

  /** What a service's only token means now; undefined when that depends on who asks, or on several tokens. */
  latestOf(service: ManagedService): Descriptor | undefined {
    const names = new Set(service.sourceTokens.flat().map(source => source.token))
    const [token] = names
    if (names.size !== 1 || token === undefined) return undefined
    const input = {
      headers: new Map([['token', token]]),
      host: undefined,
      findToken: (name: string) => this.#tokens.find(name),
      requester: undefined,
      isOneUser: false,
      config: this.#options.services,
    }
    const latest = resolveDescriptor(input)
    if (!latest.ok || (latest.value.core['allowed-params'] ?? []).length > 0) return undefined
    const find = (name: string): WithdrawalRecord | undefined => this.#withdrawals.find(name)
    if (findWithdrawal(latest.value, find) === undefined) return latest.value
    for (const { descriptor } of formerVersions(latest.value, input))
      if (findWithdrawal(descriptor, find) === undefined) return descriptor
    return undefined
  }

  /** Remembers a withdrawal for all routers, and for leaders to come. */
  async withdraw(withdrawal: Withdrawal): Promise<void> {
    await this.#write(withdrawal.token, stored => addWithdrawal(stored, withdrawal))
  }

  /** The store holds only what is about versions that there are. */
  #prune(token: string): void {
    const known = this.#withdrawals.find(token)
    if (known === undefined || !this.#tokens.isSynced) return
    const prune = (stored: WithdrawalRecord | undefined): WithdrawalRecord | undefined =>
      stored && pruneWithdrawals(stored, this.#tokens.find(token))
    if (prune(known)?.withdrawals.length === known.withdrawals.length) return
    this.#write(token, prune).catch(error =>
      this.#options.log.warn({ err: error, token }, 'could not forget withdrawals of versions that are gone'),
    )
  }

  async #write(
    token: string,
    change: (stored: WithdrawalRecord | undefined) => WithdrawalRecord | undefined,
  ): Promise<void> {
    const { store } = this.#options
    const key = STORE_PREFIXES.withdrawals + token
    for (let attempt = 0; attempt < CONFLICTS_MAX; attempt++) {
      const entry = await store.get(key)
      const changed = change(entry === undefined ? undefined : (JSON.parse(entry.value) as WithdrawalRecord))
      const text = changed === undefined ? undefined : JSON.stringify(changed)
      if (text === entry?.value) return
      const outcome = await store.compareAndSet(key, entry?.version ?? 0, text)
      if (outcome.kind !== 'written') continue
      this.#withdrawals.learn(token, text, outcome.version)
      return
    }
    throw new WaiterError(`could not record the withdrawal of a version of ${token}`, {
      code: 'WTR_WITHDRAWAL_BUSY',
      status: 503,
      retryable: true,
    })
  }
}
