import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HausError } from '@haus/contract'
import { AddressRefused, createAddressPolicy, type AddressPolicyOptions } from './address-policy.ts'

function policyWith(options: Partial<AddressPolicyOptions> = {}) {
  return createAddressPolicy({
    allow: [],
    ownListeners: () => [],
    localAddresses: () => ['127.0.0.1', '192.168.7.7', 'fd00::7'],
    ...options,
  })
}

function verdict(
  address: string,
  request: { operator?: boolean; source?: string; port?: number } = {},
  options: Partial<AddressPolicyOptions> = {},
): string {
  const { operator = true, source = '10.0.0.5', port = 3000 } = request
  try {
    return policyWith(options).admit({ address, port, source, operator })
  } catch (error) {
    assert(error instanceof HausError && error.code === 'advertise_refused', String(error))
    assert.deepEqual(error.fields[0]?.field, '/address')
    return `refused: ${error.message}`
  }
}

/** What nobody may register, not even an operator, and the words that say why. */
const traps: readonly (readonly [address: string, why: RegExp])[] = [
  ['0.0.0.0', /not an address to connect to/],
  ['0.1.2.3', /not an address to connect to/],
  ['::', /not an address to connect to/],
  ['0:0:0:0:0:0:0:0', /not an address to connect to/],
  ['::ffff:0.0.0.0', /not an address to connect to/],
  ['255.255.255.255', /broadcast/],
  ['::ffff:255.255.255.255', /broadcast/],
  ['224.0.0.1', /multicast/],
  ['239.255.255.250', /multicast/],
  ['ff02::1', /multicast/],
  ['240.0.0.1', /reserved/],
  ['169.254.1.1', /link-local/],
  ['fe80::1', /link-local/],
  ['febf::1', /link-local/],
  ['169.254.169.254', /metadata/],
  ['::ffff:169.254.169.254', /metadata/],
  ['::ffff:a9fe:a9fe', /metadata/],
  ['0:0:0:0:0:ffff:a9fe:a9fe', /metadata/],
  ['::FFFF:A9FE:A9FE', /metadata/],
  ['64:ff9b::169.254.169.254', /metadata/],
  ['64:ff9b::a9fe:a9fe', /metadata/],
  ['2002:a9fe:a9fe::1', /metadata/],
  ['64:ff9b:1::a9fe:a9fe', /metadata/],
  ['::ffff:0:a9fe:a9fe', /metadata/],
  ['::169.254.169.254', /form of IPv6/],
  ['::10.0.0.1', /form of IPv6/],
  ['100.100.100.200', /metadata/],
  ['168.63.129.16', /metadata/],
  ['fd00:ec2::254', /metadata/],
  ['FD00:0EC2:0:0:0:0:0:0254', /metadata/],
  ['metadata.google.internal', /metadata/],
  ['Metadata.Google.Internal.', /metadata/],
  ['metadata', /metadata/],
  ['instance-data', /metadata/],
  // Other notations of IPv4, which resolvers read and rules would not.
  ['2130706433', /unusual form/],
  ['0x7f000001', /unusual form/],
  ['0x7f.0.0.1', /unusual form/],
  ['017700000001', /unusual form/],
  ['0177.0.0.1', /unusual form/],
  ['127.1', /unusual form/],
  ['127.0.0.1.', /unusual form/],
  ['256.0.0.1', /unusual form/],
  ['10.0.0.010', /unusual form/],
  ['169.254.43518', /unusual form/],
  ['node.0x7f', /unusual form/],
  ['fe80::1%eth0', /neither/],
  ['[::1]', /neither/],
  ['10.0.0.1:80', /neither/],
  ['http://10.0.0.1', /unusual form/],
  ['http://host', /neither/],
  ['user@host', /neither/],
  ['host name', /neither/],
  ['host/path', /neither/],
  ['-host', /neither/],
  ['a..b', /neither/],
  ['', /neither/],
  ['１２７.0.0.1', /neither|unusual/],
  ['127。0。0。1', /neither/],
  [`${'a'.repeat(64)}.example`, /neither/],
]

for (const [address, why] of traps) {
  test(`an operator cannot register ${JSON.stringify(address)}`, () => {
    assert.match(verdict(address), /^refused: /)
    assert.match(verdict(address), why)
  })
}

test('an operator may register any other address or name, in its plain form', () => {
  assert.equal(verdict('10.1.2.3'), '10.1.2.3')
  assert.equal(verdict('8.8.8.8'), '8.8.8.8')
  assert.equal(verdict('127.0.0.1'), '127.0.0.1')
  assert.equal(verdict('::1'), '::1')
  assert.equal(verdict('::ffff:10.1.2.3'), '10.1.2.3')
  assert.equal(verdict('FD00:0:0:0:0:0:0:9'), 'fd00::9')
  assert.equal(verdict('64:ff9b::8.8.8.8'), '64:ff9b::808:808')
  assert.equal(verdict('Node-7.Example.'), 'node-7.example')
  assert.equal(verdict('redis'), 'redis')
})

test('a service may register the address it connects from, and what the operator allows', () => {
  const service = { operator: false }
  assert.equal(verdict('10.0.0.5', service), '10.0.0.5')
  assert.equal(verdict('::ffff:10.0.0.5', service), '10.0.0.5')
  assert.match(verdict('10.0.0.6', service), /not the address you connect from \(10\.0\.0\.5\)/)
  assert.match(verdict('10.0.0.6', service), /HAUS_ADVERTISE_ALLOW/)
  assert.match(verdict('redis', service), /only an operator/)
  assert.match(verdict('localhost', service), /only an operator/)
  const allow = { allow: ['10.0.0.0/24', 'fd00:1::/64', '172.16.0.9'] }
  assert.equal(verdict('10.0.0.6', service, allow), '10.0.0.6')
  assert.equal(verdict('fd00:1::9', service, allow), 'fd00:1::9')
  assert.equal(verdict('172.16.0.9', service, allow), '172.16.0.9')
  assert.match(verdict('172.16.0.10', service, allow), /not the address/)
  assert.match(verdict('10.0.1.6', service, allow), /not the address/)
  // What is forbidden stays forbidden, whatever is allowed and wherever the request comes from.
  const all = { allow: ['0.0.0.0/0', '::/0'] }
  assert.match(verdict('169.254.169.254', service, all), /metadata/)
  const linkLocal = { operator: false, source: '169.254.1.1' }
  assert.match(verdict('169.254.1.1', linkLocal), /link-local/)
})

test('on loopback every loopback address is the peer: both ends are this machine', () => {
  const local = { operator: false, source: '127.0.0.1' }
  assert.equal(verdict('127.0.0.1', local), '127.0.0.1')
  assert.equal(verdict('::1', local), '::1')
  assert.equal(verdict('127.0.0.2', { operator: false, source: '::1' }), '127.0.0.2')
  assert.match(verdict('127.0.0.1', { operator: false, source: '10.0.0.5' }), /not the address/)
  assert.match(verdict('192.168.7.7', local), /not the address/)
})

test('nobody may register Haus itself, under whichever of its addresses', () => {
  const bound = (address: string) => ({ ownListeners: () => [{ address, port: 8000 }] })
  const own = { port: 8000 }
  const itself = /where Haus itself listens/
  assert.match(verdict('127.0.0.1', own, bound('127.0.0.1')), itself)
  assert.match(verdict('::ffff:127.0.0.1', own, bound('127.0.0.1')), itself)
  assert.equal(verdict('127.0.0.1', { port: 8001 }, bound('127.0.0.1')), '127.0.0.1')
  assert.equal(verdict('10.0.0.9', own, bound('127.0.0.1')), '10.0.0.9')
  for (const everywhere of ['0.0.0.0', '::']) {
    assert.match(verdict('127.0.0.1', own, bound(everywhere)), itself)
    assert.match(verdict('127.9.9.9', own, bound(everywhere)), itself)
    assert.match(verdict('::1', own, bound(everywhere)), itself)
    assert.match(verdict('192.168.7.7', own, bound(everywhere)), itself)
    assert.match(verdict('fd00::7', own, bound(everywhere)), itself)
    assert.equal(verdict('192.168.7.8', own, bound(everywhere)), '192.168.7.8')
    assert.equal(verdict('192.168.7.7', { port: 8001 }, bound(everywhere)), '192.168.7.7')
  }
})

test('a network that is none stops the start with its name', () => {
  for (const cidr of ['10.0.0.0/33', 'fd00::/129', '10.0.0/8', 'home', '10.0.0.0/-1', '']) {
    assert.throws(
      () => policyWith({ allow: [cidr] }),
      (error) =>
        error instanceof HausError &&
        error.code === 'config_invalid' &&
        error.message.includes(cidr),
    )
  }
})

test('at the connect a name is judged by where it leads, and pinned to it', async () => {
  const look = (policy: ReturnType<typeof policyWith>, name: string, port: number) =>
    new Promise<unknown>((resolve) => {
      policy.lookupFor(port)(name, { all: true }, (error, found) => resolve(error ?? found))
    })
  const found = await look(policyWith(), 'localhost', 3000)
  assert(Array.isArray(found) && found.length > 0)
  const ownListeners = () => [{ address: '0.0.0.0', port: 8000 }]
  const refused = await look(policyWith({ ownListeners }), 'localhost', 8000)
  assert(refused instanceof AddressRefused)
  assert.match(refused.message, /"localhost" leads to .*where Haus itself listens/)
  assert.match(policyWith().refusal('169.254.169.254', 80) ?? '', /metadata/)
  assert.equal(policyWith().refusal('10.0.0.1', 80), null)
  assert.match(policyWith().refusal('name', 80) ?? '', /not an IP/)
})
