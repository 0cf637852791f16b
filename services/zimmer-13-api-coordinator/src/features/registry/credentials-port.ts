/**
 * What the registry asks of the credentials: the join that makes one registration answer enough.
 * The registry never looks into a value; it passes them from here to the answer.
 */
import type { GrantedCredential } from '@haus/contract'
import type { Static } from 'typebox'
import type { RequestContext } from '../../platform/http/caller.ts'

export type GrantedCredentials = Readonly<Record<string, Static<typeof GrantedCredential>>>

export interface Granted {
  readonly credentials: GrantedCredentials
  /** Names and versions, for the audit record of the entry that hands them out. */
  readonly auditDetail: Readonly<Record<string, unknown>>
  /** False once any of them has changed: what was asked for before must not leave any more. */
  isCurrent(): boolean
}

export interface RegistrationCredentials {
  /**
   * The named credentials with their values; undefined: all that are granted. A refusal is on
   * record when it is thrown; a grant is recorded by who hands it out.
   * @throws HausError credential_not_granted, which names the one that is missing or not granted
   */
  grantedTo(
    service: string,
    names: readonly string[] | undefined,
    context: RequestContext,
  ): Promise<Granted>
  /** The current version of each granted credential, from memory. */
  versionsOf(service: string): Readonly<Record<string, number>>
}
