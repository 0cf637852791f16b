import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bannerOf } from './banner.ts'

test('the banner says where the house is, whether it is new, where the token is, and what to do next', () => {
  const banner = bannerOf({
    version: '0.1.0',
    api: 'http://127.0.0.1:8000',
    gateway: 'http://127.0.0.1:8088',
    dataDir: "/srv/it's here",
    isNew: true,
    database: 'embedded database',
    operatorTokenFile: "/srv/it's here/operator.token",
  })
  assert.match(banner, /API +http:\/\/127\.0\.0\.1:8000\n/)
  assert.match(banner, /Gateway +http:\/\/127\.0\.0\.1:8088\n/)
  assert.match(banner, /Data +\/srv\/it's here \(a new house, embedded database\)\n/)
  assert.match(banner, /Operator token +\/srv\/it's here\/operator\.token\n/)
  // The command can be pasted as it stands, whatever the folder is called.
  assert.ok(banner.includes(`$(cat '/srv/it'\\''s here/operator.token')`))
  assert.ok(banner.split('\n').length < 15)
})
