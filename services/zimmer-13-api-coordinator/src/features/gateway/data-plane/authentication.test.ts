import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { HausError, type ErrorCode } from '@haus/contract'
import { SignJWT } from 'jose'
import { createAccessTokenVerifier } from '../../../platform/crypto/access-token-verifier.ts'
import { ManualClock } from '../../../testing/manual-clock.ts'
import { bearerToken, createAuthentication } from './authentication.ts'

const issuer = 'urn:haus:test'
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const { x = '' } = publicKey.export({ format: 'jwk' })
const jwk = {
  kty: 'OKP',
  crv: 'Ed25519',
  x,
  kid: 'key-of-the-house',
  alg: 'EdDSA',
  use: 'sig',
} as const

function open() {
  const clock = new ManualClock()
  const authentication = createAuthentication({
    verifier: createAccessTokenVerifier({ issuer, jwk, clock }),
    keyId: jwk.kid,
    tokenTtlSeconds: 900,
    clock,
  })
  authentication.learn([{ clientId: 'client', service: 'visitor' }], true)
  const sign = (audience = 'haus-gateway', clientId = 'client'): Promise<string> => {
    const nowSeconds = Math.floor(clock.now().getTime() / 1_000)
    return new SignJWT({ client_id: clientId })
      .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid: jwk.kid })
      .setIssuer(issuer)
      .setSubject('service:visitor')
      .setAudience(audience)
      .setIssuedAt(nowSeconds)
      .setExpirationTime(nowSeconds + 900)
      .setJti('id')
      .sign(privateKey)
  }
  const ask = async (token: string | null) => authentication.callerOf(token)
  return { clock, authentication, sign, ask }
}

function refusedWith(code: ErrorCode) {
  return (error: unknown): boolean => error instanceof HausError && error.code === code
}

test('a token is verified once and known at once from then on', async () => {
  const { authentication, sign } = open()
  const token = await sign()
  const first = authentication.callerOf(token)
  assert.ok(first instanceof Promise)
  assert.equal((await first).service, 'visitor')
  const second = authentication.callerOf(token)
  assert.ok(!(second instanceof Promise))
  assert.equal(second.service, 'visitor')
})

test('a known token ends with its key, at once, and does not come back with another', async () => {
  const { authentication, sign, ask } = open()
  const token = await sign()
  await ask(token)
  authentication.learn([{ clientId: 'client', service: null }], false)
  await assert.rejects(ask(token), refusedWith('token_revoked'))
  authentication.learn([{ clientId: 'client', service: 'other' }], false)
  await assert.rejects(ask(token), refusedWith('token_revoked'))
})

test('a key that is not among all that there are has ended', async () => {
  const { authentication, sign, ask } = open()
  const token = await sign()
  await ask(token)
  authentication.learn([{ clientId: 'another', service: 'visitor' }], true)
  await assert.rejects(ask(token), refusedWith('token_revoked'))
})

test('a known token ends with its time, by the monotonic clock', async () => {
  const { clock, sign, ask } = open()
  const token = await sign()
  await ask(token)
  clock.advance(906_000)
  await assert.rejects(ask(token), refusedWith('token_expired'))
})

test('tokens for the API, of operators, of nobody and none are refused', async () => {
  const { sign, ask } = open()
  await assert.rejects(ask(await sign('haus')), refusedWith('token_wrong_audience'))
  await assert.rejects(ask('haus_op_x'), refusedWith('token_invalid'))
  await assert.rejects(ask('a.b.c'), refusedWith('token_invalid'))
  await assert.rejects(ask('x'.repeat(5_000)), refusedWith('token_invalid'))
  await assert.rejects(ask(null), refusedWith('unauthenticated'))
  await assert.rejects(ask(''), refusedWith('unauthenticated'))
})

test('every token of this house is known as one, for whatever it was made; others are not', async () => {
  const { authentication, sign } = open()
  assert.ok(authentication.isOurs(`Bearer ${await sign('haus', 'unknown')}`))
  assert.ok(authentication.isOurs('bearer haus_op_x'))
  assert.ok(!authentication.isOurs('Bearer of-the-application'))
  assert.ok(!authentication.isOurs('Basic eHg6eXk='))
  assert.equal(bearerToken('Bearer  x'), 'x')
  assert.equal(bearerToken('Basic x'), null)
})
