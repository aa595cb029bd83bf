/**
 * Text that cannot steer a terminal: control characters (C0 but for tab and line feed, DEL, C1) and marks that reorder
 * text are shown as `\u001b`. For what came from elsewhere: names, messages, values.
 */
export function printable(text: string): string {
  return text.replaceAll(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The same in one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t')
}
