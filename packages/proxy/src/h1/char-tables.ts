const TOKEN_PUNCTUATION = "!#$%&'*+-.^_`|~"
const HOST_PUNCTUATION = "-._~!$&'()*+,;=%"

/** 1 for bytes of a token (RFC 9110 §5.6.2). */
export const IS_TOKEN: Uint8Array = table(byte => isAlphanumeric(byte) || hasChar(TOKEN_PUNCTUATION, byte))
/** 1 for bytes of a field value: VCHAR, obs-text, SP and HTAB. */
export const IS_VALUE: Uint8Array = table(byte => byte === 9 || (byte >= 0x20 && byte !== 0x7f))
/** 1 for bytes of a request target: VCHAR without `#` (a fragment never travels). */
export const IS_TARGET: Uint8Array = table(byte => byte > 0x20 && byte < 0x7f && byte !== 0x23)
/** 1 for bytes of a registered name or IPv4 address in Host. */
export const IS_HOST: Uint8Array = table(byte => isAlphanumeric(byte) || hasChar(HOST_PUNCTUATION, byte))
/** 1 for bytes inside the brackets of an IPv6 literal. */
export const IS_IPV6: Uint8Array = table(byte => isHex(byte) || byte === 0x3a || byte === 0x2e)
/** Lower-case of ASCII letters; other bytes as they are. */
export const TO_LOWER: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte,
)
/** The same, and hyphens for underscores: how CGI and its like see the names of fields. */
export const FOLDED_NAME: Uint8Array = TO_LOWER.map(byte => (byte === 0x5f ? 0x2d : byte))
/** Value of a hex digit, 255 for other bytes. */
export const HEX_VALUE: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  isHex(byte) ? Number.parseInt(String.fromCharCode(byte), 16) : 255,
)

function table(predicate: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (predicate(byte) ? 1 : 0))
}

function isAlphanumeric(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
}

function isHex(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66)
}

function hasChar(chars: string, byte: number): boolean {
  return chars.includes(String.fromCharCode(byte))
}
