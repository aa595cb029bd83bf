export type {
  Fence,
  InstanceFlag,
  InstanceRecord,
  InstanceRef,
  InstanceState,
  KillRequest,
  KillResult,
  LogEntry,
  Scheduler,
  SchedulerEvent,
  ServiceRecord,
} from './scheduler.ts'
