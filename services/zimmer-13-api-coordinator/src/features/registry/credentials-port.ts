/**
 * What the registry asks of the credentials: the join that makes one registration answer enough.
 * The registry never looks into a value; it passes them from here to the answer.
 */
import type { GrantedCredential } from '@haus/contract'
import type { Static } from 'typebox'
import type { RequestContext } from '../../platform/http/caller.ts'

export type GrantedCredentials = Readonly<Record<string, Static<typeof GrantedCredential>>>

export interface RegistrationCredentials {
  /**
   * The named credentials with their values; null: all that are granted.
   * The caller of this records the read durably before anything leaves.
   * @throws HausError credential_not_granted, which names the one that is missing or not granted
   */
  grantedTo(
    service: string,
    names: readonly string[] | null,
    context: RequestContext,
  ): GrantedCredentials | Promise<GrantedCredentials>
  /** The current version of each granted credential, from memory. */
  versionsOf(service: string): ReadonlyMap<string, number>
}
