/** How the registry says no, in one wording each. */
import { HausError, reservedServiceNames } from '@haus/contract'
import { GuardLost } from '../../platform/ledger/index.ts'

export function serviceNotFound(name: string, field = 'path.name'): HausError {
  const detail = `no service or alias is called "${name}"; it appears with its first registration`
  return new HausError('service_not_found', `${field}: ${detail}.`, { fields: [{ field, detail }] })
}

export function instanceNotFound(service: string, id: string): HausError {
  const detail = `"${service}" has no instance ${id}; register it again`
  return new HausError('instance_not_found', `path.id: ${detail}.`, {
    fields: [{ field: 'path.id', detail }],
  })
}

/** What makes room when the house is full. */
export const forgetRoute = 'DELETE /api/services/{name}?forget=true'

/** @throws HausError invalid_request */
export function refuseReserved(name: string, field: string): void {
  if (!reservedServiceNames.has(name)) return
  const detail = `"${name}" is a reserved word of the house; choose another name`
  throw new HausError('invalid_request', `${detail}.`, { fields: [{ field, detail }] })
}

/** Two writers who meet again and again are answered, not served forever. */
const triesMax = 5

/** Runs it again when somebody was faster: the ledger rejects only after the view has seen who won. */
export async function retryWhenLost<T>(what: string, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof GuardLost)) throw error
      if (tries === triesMax) {
        throw new HausError(
          'version_conflict',
          `${what} was changed by others ${triesMax} times while this was tried; nothing was written. Read it and try again.`,
          { cause: error },
        )
      }
    }
  }
}
