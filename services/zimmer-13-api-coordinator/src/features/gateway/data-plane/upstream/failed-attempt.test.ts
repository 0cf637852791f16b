import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressRefused } from '../../../../platform/network/address-policy.ts'
import { BodyTooLarge, codeOfCut, Ended, speaksOfInstance } from './failed-attempt.ts'

const failure = (code: string): Error => Object.assign(new Error(code), { code })

test('no instance is judged by want of a port, a file or memory on this machine', () => {
  for (const code of ['EADDRNOTAVAIL', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']) {
    assert.equal(speaksOfInstance(failure(code)), false, code)
  }
})

test('no instance is judged by what its client did, or by an address that Haus does not go to', () => {
  assert.equal(speaksOfInstance(new BodyTooLarge(1)), false)
  assert.equal(speaksOfInstance(new AddressRefused('it is link-local')), false)
})

test('a connection that is refused, reset or not taken speaks of the instance', () => {
  for (const code of ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT']) {
    assert.equal(speaksOfInstance(failure(code)), true, code)
  }
})

test('the log tells why an answer was cut off', () => {
  assert.equal(codeOfCut(new Ended('token')), 'token_revoked')
  assert.equal(codeOfCut(new Ended('idle')), 'upstream_timeout')
  assert.equal(codeOfCut(new Ended('body')), 'request_timeout')
  assert.equal(codeOfCut(new BodyTooLarge(1)), 'body_too_large')
  assert.equal(codeOfCut(failure('ECONNRESET')), 'upstream_failed')
})
