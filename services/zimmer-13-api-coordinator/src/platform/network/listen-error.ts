/** Why a door cannot be opened, with the setting that names another. */
import { HausError } from '@haus/contract/errors'
import { codeOf } from '../errors/thrown.ts'

/** @returns HausError address_in_use, address_unusable */
export function listenError(
  error: unknown,
  { host, port }: { readonly host: string; readonly port: number },
  setting: string,
): HausError {
  const code = codeOf(error) ?? String(error)
  const shown = `${host.includes(':') ? `[${host}]` : host}:${port}`
  if (code === 'EADDRINUSE') {
    return new HausError(
      'address_in_use',
      `${shown} is in use by another program; stop it, or choose another ${setting}.`,
      { cause: error },
    )
  }
  return new HausError('address_unusable', `${shown} ${reasonOf(code, setting)}.`, { cause: error })
}

function reasonOf(code: string, setting: string): string {
  switch (code) {
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `is not an address of this machine: choose one that is with ${setting}`
    case 'EACCES':
      return `may not be bound by this user: choose a port from 1024 on with ${setting}`
    default:
      return `cannot be bound (${code}): choose another ${setting}`
  }
}
