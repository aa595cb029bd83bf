import { type Command, InvalidArgumentError, Option } from 'commander'
import type { CommandContext } from './context.ts'

/** Adds a command; `run` gets what its usage declares, then its options. */
export type AddCommand = (
  usage: string,
  description: string,
  // biome-ignore lint/suspicious/noExplicitAny: commander passes what the usage text declares.
  run: (context: CommandContext, ...given: any[]) => Promise<number>,
  parent?: Command,
) => Command

/** Commands that can print for programs. */
export function withFormats(command: Command): void {
  command
    .addOption(new Option('--json', 'print JSON').conflicts('yaml'))
    .addOption(new Option('--yaml', 'print YAML').conflicts('json'))
}

/** An option that may be repeated. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value]
}

/** An option that is a whole number. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (/^\d{1,7}$/.test(text) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`It takes a whole number from ${min} to ${max}.`)
  }
}
