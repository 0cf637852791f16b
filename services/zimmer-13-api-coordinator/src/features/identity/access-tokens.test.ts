import assert from 'node:assert/strict'
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign as signBytes,
} from 'node:crypto'
import { test } from 'node:test'
import { HausError, type ErrorCode } from '@haus/contract'
import { calculateJwkThumbprint, createLocalJWKSet, jwtVerify, SignJWT, UnsecuredJWT } from 'jose'
import { deriveKey, Secret, systemRandom } from '../../platform/crypto/index.ts'
import { ManualClock } from '../../testing/manual-clock.ts'
import { createAccessTokens, type AccessTokens } from './access-tokens.ts'

const houseId = '01933b6e-7c00-7000-8000-0000000000aa'
const clientId = '01933b6e-7c00-7000-8000-0000000000bb'
const claims = { clientId, service: 'orders', audience: 'haus' } as const
const seed = deriveKey(new Secret(Buffer.alloc(32, 1)), 'haus/test/v1')
const clock = new ManualClock()

const ours = await createAccessTokens({ houseId, seed, clock, random: systemRandom })

function refused(token: string, code: ErrorCode = 'token_invalid', by: AccessTokens = ours) {
  return assert.rejects(by.verify(token, 'haus'), (error) => {
    assert.ok(error instanceof HausError)
    assert.equal(error.code, code)
    assert.ok(
      token.length < 20 || !error.message.includes(token),
      'a refusal does not repeat the token',
    )
    return true
  })
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function payloadOf(token: string): Record<string, unknown> {
  const payload: unknown = JSON.parse(
    Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'),
  )
  assert.ok(typeof payload === 'object' && payload !== null)
  return { ...payload }
}

test('a token says who, for whom, by whom and how long, and verifies', async () => {
  const token = await ours.sign(claims)
  const nowSeconds = clock.now().getTime() / 1_000
  const { jti, ...rest } = payloadOf(token)
  assert.equal(typeof jti, 'string')
  assert.deepEqual(rest, {
    iss: `urn:haus:${houseId}`,
    sub: 'service:orders',
    aud: 'haus',
    client_id: clientId,
    iat: nowSeconds,
    exp: nowSeconds + 900,
  })
  assert.ok(token.length < 600, `${token.length} characters`)
  assert.deepEqual(await ours.verify(token, 'haus'), {
    ...claims,
    expiresAtMs: clock.now().getTime() + 900_000,
  })
})

test('two tokens are never the same one', async () => {
  assert.notEqual(await ours.sign(claims), await ours.sign(claims))
})

test('a service can check the token of another with nothing but the JWKS', async () => {
  const token = await ours.sign({ ...claims, audience: 'haus-gateway' })
  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: [{ ...ours.jwk }] }), {
    audience: 'haus-gateway',
    issuer: `urn:haus:${houseId}`,
    typ: 'at+jwt',
    currentDate: clock.now(),
  })
  assert.equal(payload.sub, 'service:orders')
})

test('the key id is the thumbprint of RFC 7638, and every replica has the same key', async () => {
  const { kty, crv, x } = ours.jwk
  assert.equal(ours.jwk.kid, await calculateJwkThumbprint({ kty, crv, x }))
  const replica = await createAccessTokens({ houseId, seed, clock, random: systemRandom })
  assert.deepEqual(replica.jwk, ours.jwk)
  await replica.verify(await ours.sign(claims), 'haus')
})

test('trap: alg none', async () => {
  const payload = payloadOf(await ours.sign(claims))
  await refused(new UnsecuredJWT(payload).encode())
  const header = { alg: 'none', typ: 'at+jwt', kid: ours.jwk.kid }
  await refused(`${encode(header)}.${encode(payload)}.`)
  for (const alg of ['None', 'NONE', 'nOnE', '']) {
    await refused(`${encode({ ...header, alg })}.${encode(payload)}.`)
  }
})

test('trap: HS256 with the public key as its secret', async () => {
  const payload = payloadOf(await ours.sign(claims))
  const publicKey = createPublicKey({ key: { ...ours.jwk }, format: 'jwk' })
  const secrets = [
    Buffer.from(ours.jwk.x),
    Buffer.from(ours.jwk.x, 'base64url'),
    publicKey.export({ type: 'spki', format: 'pem' }),
    publicKey.export({ type: 'spki', format: 'der' }),
  ]
  for (const secret of secrets) {
    const input = `${encode({ alg: 'HS256', typ: 'at+jwt', kid: ours.jwk.kid })}.${encode(payload)}`
    await refused(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`)
  }
})

test('trap: a key of his own, under our key id, in the header, and by address', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const payload = payloadOf(await ours.sign(claims))
  const jwk = publicKey.export({ format: 'jwk' })
  const headers = [
    { kid: ours.jwk.kid },
    { kid: ours.jwk.kid, jwk },
    { kid: ours.jwk.kid, jku: 'https://attacker.example/jwks.json' },
    { kid: await calculateJwkThumbprint(jwk) },
    {},
  ]
  for (const header of headers) {
    const forged = new SignJWT(payload).setProtectedHeader({
      alg: 'EdDSA',
      typ: 'at+jwt',
      ...header,
    })
    await refused(await forged.sign(privateKey))
  }
})

test('trap: a swapped payload, a truncated token, a flipped bit', async () => {
  const token = await ours.sign(claims)
  const other = await ours.sign({ ...claims, service: 'admin' })
  const [header = '', payload = '', signature = ''] = token.split('.')
  await refused(`${header}.${other.split('.')[1]}.${signature}`)
  await refused(`${header}.${encode({ ...payloadOf(token), sub: 'service:admin' })}.${signature}`)
  for (let length = 0; length < token.length; length += 7) await refused(token.slice(0, length))
  for (const part of [header, payload, signature]) await refused(part)
  await refused(`${header}..${signature}`)
  await refused(`${header}.${payload}.`)
  await refused(`${token}.${signature}`)
  await refused(
    `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`,
  )
})

test('trap: a huge token is refused before any of it is parsed', async () => {
  const token = await ours.sign(claims)
  const startedMs = performance.now()
  await refused(`${token}${'A'.repeat(10_000_000)}`)
  assert.ok(performance.now() - startedMs < 1_000)
  await refused(await ours.sign({ ...claims, service: 'x'.repeat(4_000) }))
  await refused('.'.repeat(4_097))
  await refused('.'.repeat(4_096))
})

test('trap: critical headers, another type, nested and unencoded payloads', async () => {
  const sign = (header: Record<string, unknown>, payload = payloadOf(sample)): string => {
    const input = `${encode({ alg: 'EdDSA', typ: 'at+jwt', kid: ours.jwk.kid, ...header })}.${encode(payload)}`
    return `${input}.${signBytes(null, Buffer.from(input), privateKey).toString('base64url')}`
  }
  const sample = await ours.sign(claims)
  const privateKey = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed.reveal()]),
    format: 'der',
    type: 'pkcs8',
  })
  // What the right key signs, in the right form, is taken: the cases below fail for what they are about.
  await ours.verify(sign({}), 'haus')
  await refused(sign({ crit: ['exp'], exp: 1 }))
  await refused(sign({ crit: ['b64'], b64: true }))
  await refused(sign({ crit: ['b64'], b64: false }))
  await refused(sign({ crit: [] }))
  await refused(sign({ typ: 'JWT' }))
  await refused(sign({ typ: undefined }))
  await refused(sign({ alg: 'Ed25519' }))
  await refused(sign({ kid: undefined }))
  await refused(sign({ kid: [ours.jwk.kid] }))
  const payload = payloadOf(sample)
  for (const claim of ['iss', 'sub', 'iat', 'exp', 'jti', 'client_id']) {
    await refused(sign({}, { ...payload, [claim]: undefined }))
    await refused(sign({}, { ...payload, [claim]: {} }))
  }
  await refused(sign({}, { ...payload, sub: 'operator' }))
  await refused(sign({}, { ...payload, aud: ['haus', 'haus-gateway'] }))
  await refused(sign({}, { ...payload, nbf: payload['exp'] }))
  await refused(sign({}, { ...payload, aud: undefined }), 'token_wrong_audience')
})

test('trap: a token of another house, also of one with the same root key', async () => {
  const other = await createAccessTokens({
    houseId: '01933b6e-7c00-7000-8000-0000000000cc',
    seed,
    clock,
    random: systemRandom,
  })
  await refused(await other.sign(claims))
  const foreign = await createAccessTokens({
    houseId,
    seed: deriveKey(seed, 'haus/test/v2'),
    clock,
    random: systemRandom,
  })
  await refused(await foreign.sign(claims))
})

test('a gateway token is refused at the API, and an API token at the gateway', async () => {
  const gateway = await ours.sign({ ...claims, audience: 'haus-gateway' })
  await refused(gateway, 'token_wrong_audience')
  await ours.verify(gateway, 'haus-gateway')
  await assert.rejects(ours.verify(await ours.sign(claims), 'haus-gateway'), {
    code: 'token_wrong_audience',
  })
})

test('a token ends after its 15 minutes and a small leeway', async () => {
  const token = await ours.sign(claims)
  clock.advance(904_000)
  await ours.verify(token, 'haus')
  clock.advance(2_000)
  await refused(token, 'token_expired')
})
