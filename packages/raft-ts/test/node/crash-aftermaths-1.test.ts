import t from 'tap'
import { createCrashAftermaths } from './support/crash-aftermaths.ts'

// D1 D2 D3 D4 D6 D10, at calls 1, 4, 7, …
createCrashAftermaths(t, 1)
