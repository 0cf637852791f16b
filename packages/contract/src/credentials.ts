/** Credentials: named sets of secret values, versioned, granted to services. */
import { Type } from 'typebox'
import { defineOperation, Page, pageOf, viewHeaders } from './operation.ts'
import { CredentialName, ServiceName, Timestamp, Uuid } from './names.ts'
import { example } from './example-values.ts'

/** 64 KiB holds any key, certificate chain or service-account file met in practice. */
export const credentialDataMaxBytes = 64 * 1024
export const credentialKeysMax = 64
/** Live ones. 200 services with 50 credentials each; their metadata is held in memory, some 10 MB. */
export const credentialsMax = 10_000
/** An answer holds all credentials of a service: 16 MiB at the very most. */
export const credentialsPerServiceMax = 256
/** Kept of each, so that a credential takes 2 MiB at most; older ones go with the next change. */
export const credentialVersionsMax = 32
/** How long a process may hold a credential in memory in the clear. */
export const cacheTtlSecondsDefault = 30
export const cacheTtlSecondsMax = 3600

/** Keys become file names and environment names under `haus run`. */
export const CredentialData = Type.Record(
  Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_.-]{0,127}$' }),
  Type.String({ maxLength: credentialDataMaxBytes }),
  {
    minProperties: 1,
    maxProperties: credentialKeysMax,
    additionalProperties: false,
    'x-keys':
      'letters, digits, underscores, dots and hyphens, at most 128, beginning with a letter or underscore',
    description: 'The secret values; 64 KiB in all, as JSON.',
  },
)

const Services = Type.Array(ServiceName, {
  maxItems: 256,
  uniqueItems: true,
  description: 'The services that may read it. They need not have registered yet.',
})
const Description = Type.String({ maxLength: 1024 })
const CacheTtlSeconds = Type.Integer({
  minimum: 0,
  maximum: cacheTtlSecondsMax,
  description: 'How long a reader may keep it without asking again. 0: never.',
})
const Cas = Type.Integer({
  minimum: 0,
  description:
    'Write only if this is the current version. Absent: write whatever it is. Only new values make a version: it says nothing about grants and the rest.',
})
const CasRevision = Type.Integer({
  minimum: 0,
  description:
    'Write only if this is the current revision: nothing at all has changed since it was read. For whoever builds the next `services` on the last.',
})

export const Credential = Type.Object(
  {
    id: Uuid,
    name: CredentialName,
    version: Type.Integer({ minimum: 1, description: 'The current version.' }),
    revision: Type.Integer({
      minimum: 1,
      description: 'Counts every change, also of grants; `casRevision` of the next one.',
    }),
    services: Services,
    description: Type.Union([Description, Type.Null()]),
    expiresAt: Type.Union([Timestamp, Type.Null()]),
    cacheTtlSeconds: CacheTtlSeconds,
    keys: Type.Array(Type.String(), { description: 'The names of the values, never the values.' }),
    createdAt: Timestamp,
    updatedAt: Timestamp,
  },
  { title: 'Credential', description: 'Metadata. Values are never part of it.' },
)

const CredentialParams = Type.Object({ id: Uuid })
const metadataExample = {
  id: example.credentialId,
  name: 'orders-database',
  version: 1,
  revision: 1,
  services: ['orders'],
  description: 'PostgreSQL account of the orders service',
  expiresAt: null,
  cacheTtlSeconds: 30,
  keys: ['username', 'password'],
  createdAt: example.time,
  updatedAt: example.time,
}

export const createCredential = defineOperation({
  id: 'createCredential',
  method: 'POST',
  path: '/api/credentials/create',
  tag: 'Credentials',
  summary: 'Create a credential',
  description: 'The answer is metadata: the values are never echoed.',
  effect: 'write',
  permission: 'credentials.manage',
  body: Type.Object(
    {
      name: CredentialName,
      data: CredentialData,
      services: Type.Optional(Services),
      description: Type.Optional(Description),
      expiresAt: Type.Optional(Timestamp),
      cacheTtlSeconds: Type.Optional(CacheTtlSeconds),
    },
    { additionalProperties: false },
  ),
  answers: { 201: { description: 'Created, version 1.', schema: Credential } },
  errors: ['name_taken', 'limit_reached', 'overloaded'],
  example: {
    body: {
      name: 'orders-database',
      data: { username: 'orders', password: 'example-password' },
      services: ['orders'],
      description: 'PostgreSQL account of the orders service',
    },
    status: 201,
    answer: metadataExample,
  },
})

export const listCredentials = defineOperation({
  id: 'listCredentials',
  method: 'GET',
  path: '/api/credentials',
  tag: 'Credentials',
  summary: 'List credentials',
  description:
    'Live ones, by name. One that failed its integrity check is left out; the log and the metrics tell of it.',
  effect: 'read',
  permission: 'credentials.manage',
  query: Type.Object(
    { ...Page, service: Type.Optional(ServiceName) },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'Metadata, by name.',
      schema: pageOf(Credential),
      headers: viewHeaders,
    },
  },
  errors: [],
  example: { status: 200, answer: { items: [metadataExample], nextCursor: null } },
})

export const getCredential = defineOperation({
  id: 'getCredential',
  method: 'GET',
  path: '/api/credentials/{id}',
  tag: 'Credentials',
  summary: 'Show the metadata of a credential',
  effect: 'read',
  permission: 'credentials.manage',
  params: CredentialParams,
  answers: { 200: { description: 'Metadata.', schema: Credential, headers: viewHeaders } },
  errors: ['credential_not_found', 'integrity_failed'],
  example: { params: { id: example.credentialId }, status: 200, answer: metadataExample },
})

export const addCredentialVersion = defineOperation({
  id: 'addCredentialVersion',
  method: 'POST',
  path: '/api/credentials/{id}',
  tag: 'Credentials',
  summary: 'Add a version',
  description:
    'The new version is current at once; older ones are kept, at most 32, and the oldest go first. With `cas` the write is refused (409) if the current version is another one.',
  effect: 'write',
  permission: 'credentials.manage',
  params: CredentialParams,
  body: Type.Object(
    { data: CredentialData, cas: Type.Optional(Cas) },
    { additionalProperties: false },
  ),
  answers: { 201: { description: 'The metadata with the new version.', schema: Credential } },
  errors: ['credential_not_found', 'version_conflict', 'integrity_failed', 'overloaded'],
  example: {
    params: { id: example.credentialId },
    body: { data: { username: 'orders', password: 'example-password-2' }, cas: 1 },
    status: 201,
    answer: { ...metadataExample, version: 2, revision: 2 },
  },
})

export const updateCredential = defineOperation({
  id: 'updateCredential',
  method: 'PUT',
  path: '/api/credentials/{id}',
  tag: 'Credentials',
  summary: 'Change metadata and, if given, the values',
  description:
    'What is absent stays as it is. `null` clears `description` and `expiresAt`. With `cas` the change is refused (409) if the current version is another one, with `casRevision` if anything at all has changed.',
  effect: 'write',
  permission: 'credentials.manage',
  params: CredentialParams,
  body: Type.Object(
    {
      data: Type.Optional(CredentialData),
      cas: Type.Optional(Cas),
      casRevision: Type.Optional(CasRevision),
      services: Type.Optional(Services),
      description: Type.Optional(Type.Union([Description, Type.Null()])),
      expiresAt: Type.Optional(Type.Union([Timestamp, Type.Null()])),
      cacheTtlSeconds: Type.Optional(CacheTtlSeconds),
    },
    { additionalProperties: false, minProperties: 1 },
  ),
  answers: { 200: { description: 'The metadata as it is now.', schema: Credential } },
  errors: [
    'credential_not_found',
    'version_conflict',
    'limit_reached',
    'integrity_failed',
    'overloaded',
  ],
  example: {
    params: { id: example.credentialId },
    body: { services: ['orders', 'billing'], casRevision: 2 },
    status: 200,
    answer: { ...metadataExample, version: 2, revision: 3, services: ['billing', 'orders'] },
  },
})

export const revealCredential = defineOperation({
  id: 'revealCredential',
  method: 'POST',
  path: '/api/credentials/{id}/reveal',
  tag: 'Credentials',
  summary: 'Show the values to an operator',
  description: 'Audited durably before the answer leaves. `version` asks for an older one.',
  effect: 'read',
  permission: 'credentials.manage',
  params: CredentialParams,
  query: Type.Object(
    { version: Type.Optional(Type.Integer({ minimum: 1 })) },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: 'The values.',
      schema: Type.Object({
        id: Uuid,
        name: CredentialName,
        version: Type.Integer(),
        data: Type.Record(Type.String(), Type.String()),
      }),
    },
  },
  errors: ['credential_not_found', 'integrity_failed'],
  example: {
    params: { id: example.credentialId },
    query: { version: '1' },
    status: 200,
    answer: {
      id: example.credentialId,
      name: 'orders-database',
      version: 1,
      data: { username: 'orders', password: 'example-password' },
    },
  },
})

export const deleteCredential = defineOperation({
  id: 'deleteCredential',
  method: 'DELETE',
  path: '/api/credentials/{id}',
  tag: 'Credentials',
  summary: 'Delete a credential',
  description:
    'Soft: services lose it at once, the encrypted versions stay for a later restore, and the name is free again. Idempotent. Of more than 10,000 deleted ones the longest deleted go for good, and so does at once one that failed its integrity check.',
  effect: 'destructive',
  permission: 'credentials.manage',
  params: CredentialParams,
  answers: { 204: { description: 'Deleted.' } },
  errors: ['credential_not_found', 'version_conflict', 'overloaded'],
  example: { params: { id: example.credentialId }, status: 204 },
})

/** One credential as its service gets it. */
export const GrantedCredential = Type.Object(
  {
    id: Uuid,
    version: Type.Integer({ minimum: 1 }),
    data: Type.Record(Type.String(), Type.String()),
    expiresAt: Type.Union([Timestamp, Type.Null()]),
  },
  { title: 'GrantedCredential' },
)

export const getServiceCredentials = defineOperation({
  id: 'getServiceCredentials',
  method: 'GET',
  path: '/api/credentials/service/{name}',
  tag: 'Credentials',
  summary: 'The credentials of a service, with their values',
  description:
    'For that service, or an operator. Audited durably before the answer leaves. One past its `expiresAt` is left out. `If-None-Match` with the last `ETag` answers 304 while nothing has changed; a 304 carries no values and is not audited. `If-None-Match: *` is ignored: it names no answer that was read.',
  effect: 'read',
  permission: 'credentials.read',
  params: Type.Object({ name: ServiceName }),
  answers: {
    200: {
      description: 'The current version of each.',
      schema: Type.Object({
        service: ServiceName,
        credentials: Type.Record(Type.String(), GrantedCredential),
        cacheTtlSeconds: CacheTtlSeconds,
      }),
      headers: { ETag: 'Changes with any version, grant or expiry.' },
    },
    304: { description: 'Nothing has changed since that `ETag`.' },
  },
  errors: ['integrity_failed', 'overloaded'],
  example: {
    as: 'service',
    params: { name: 'orders' },
    status: 200,
    answer: {
      service: 'orders',
      credentials: {
        'orders-database': {
          id: example.credentialId,
          version: 1,
          data: { username: 'orders', password: 'example-password' },
          expiresAt: null,
        },
      },
      cacheTtlSeconds: 30,
    },
  },
})
