import t from 'tap'
import { createCrashAftermaths } from './support/crash-aftermaths.ts'

// D1 D2 D3 D4 D6 D10, at calls 2, 5, 8, …
createCrashAftermaths(t, 2)
