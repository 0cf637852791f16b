/** The values that stand for what a house makes itself, shared so that the examples tell one story. */
export const example = {
  clientId: '01933b6e-7c00-7000-8000-000000000001',
  clientSecret: 'hsk_example-secret-shown-once',
  serviceToken: 'eyJhbGciOiJFZERTQSJ9.example.signature',
  publicKey: 'example-public-key',
  keyId: 'example-key-id',
  credentialId: '01933b6e-7c00-7000-8000-000000000002',
  instanceId: '01933b6e-7c00-7000-8000-000000000003',
  routeId: '01933b6e-7c00-7000-8000-000000000005',
  requestId: '01933b6e-7c00-7000-8000-000000000004',
  time: '2026-11-23T12:00:00.000Z',
} as const
