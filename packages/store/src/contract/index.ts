/**
 * What every `KeyValueStore` promises, as tests that need no test runner. An implementation's own test runs all cases:
 *
 * @example
 * for (const { name, run } of keyValueStoreContract({ create })) t.test(name, t => t.resolves(run()))
 */
export { type ContractCase, type ContractSubject, keyValueStoreContract } from './key-value-store-contract.ts'
