/** From an id to the live credential, or to the reason why there is none. */
import { HausError } from '@haus/contract'
import type { CredentialRecord } from './credential.ts'
import { integrityFailed } from './integrity.ts'
import type { CredentialView } from './view.ts'

/** @throws HausError credential_not_found, integrity_failed */
export function find(view: CredentialView, id: string): CredentialRecord {
  const credential = view.get(id)
  if (credential) return credential
  const untrusted = view.untrusted(id)
  if (untrusted) {
    view.integrity.report(untrusted.fault)
    throw integrityFailed(untrusted)
  }
  const detail = `there is no credential with id ${id}; GET /api/credentials lists those that are`
  throw new HausError('credential_not_found', `path.id: ${detail}.`, {
    fields: [{ field: 'path.id', detail }],
  })
}
