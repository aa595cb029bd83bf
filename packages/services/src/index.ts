export type { BackendProto, EffectiveDescription, ServiceDefinition, ServiceDescription } from './description.ts'
