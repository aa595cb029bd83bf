import t from 'tap'
import { createCrashAftermaths } from './support/crash-aftermaths.ts'

// D1 D2 D3 D4 D6 D10: a share of the calls, in order
createCrashAftermaths(t, 3)
