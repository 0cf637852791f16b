import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bannerOf } from './banner.ts'

test('the banner says where the house is, whether it is new, where the token is, and what to do next', () => {
  const opened = {
    version: '0.1.0',
    api: 'http://127.0.0.1:8000',
    gateway: 'http://127.0.0.1:8088',
    dataDir: "/srv/it's here",
    isNew: true,
    database: 'embedded database' as const,
    operatorTokenFile: "/srv/it's here/operator.token",
  }
  const banner = bannerOf(opened, '/srv')
  assert.match(banner, /API +http:\/\/127\.0\.0\.1:8000\n/)
  assert.match(banner, /Gateway +http:\/\/127\.0\.0\.1:8088\n/)
  assert.match(banner, /Data +\/srv\/it's here \(a new house, embedded database\)\n/)
  assert.match(banner, /Operator token +\/srv\/it's here\/operator\.token\n/)
  // The command can be pasted as it stands, whatever the folder is called.
  assert.ok(banner.includes(`HAUS_DATA_DIR='/srv/it'\\''s here' npx haus status\n`))
  const usual = bannerOf({ ...opened, dataDir: '/srv/.haus' }, '/srv')
  assert.match(usual, /Next: +npx haus status\n/)
  assert.ok(banner.split('\n').length < 15)
})
