import { existsSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { catalogue, errorKinds, openApiDocument } from '@haus/contract'
import { startHttpServer } from '../../testing/http-server.ts'
import { renderDocsPage } from './docs-page.ts'
import { html } from './markup.ts'
import { apiRoutes } from './routes.ts'

const chromiumPath = '/usr/bin/chromium'

const page = renderDocsPage(openApiDocument({ version: '0.1.0' }))
const text = page.body.toString()

test('the page shows every operation with path, effect and permission, and every error code', () => {
  for (const { id, path, summary } of catalogue) {
    assert.ok(text.includes(`id="${id}"`), id)
    assert.ok(text.includes(`>${path}<`), path)
    assert.ok(text.includes(summary.replaceAll("'", '&#39;')), summary)
  }
  for (const [code, { status }] of Object.entries(errorKinds)) {
    assert.equal(text.includes(`id="error-${code}"`), status !== null, code)
  }
})

test('under one operation no two parts that open have the same name', () => {
  assert.match(text, /Fields of the answer 503/)
  for (const part of text.split(/(?=<section[ >]|<article[ >])/)) {
    const names = [...part.matchAll(/<summary>([^]*?)<\/summary>/g)].map(([, name]) => name)
    assert.deepEqual(names, [...new Set(names)])
  }
})

test('no address in the page leaves the house', () => {
  const targets = [...text.matchAll(/(?:href|src|action|srcset|data|poster)="([^"]*)"/g)].map(
    ([, target]) => target ?? '',
  )
  assert.ok(targets.length > catalogue.length)
  for (const target of targets) {
    assert.match(target, /^(#[\w-]+|\/openapi\.json|data:image\/svg\+xml,.*)$/, target)
  }
  assert.doesNotMatch(
    text,
    /url\(|@import|fetch\(|XMLHttpRequest|import\(|\/\/[a-z0-9.-]+\.[a-z]{2,}/i,
  )
})

test('links within the page arrive', () => {
  for (const [, target] of text.matchAll(/href="#([\w-]+)"/g)) {
    assert.ok(text.includes(`id="${target}"`), String(target))
  }
})

test('the policy allows the style and the script of the page by hash, and nothing else', () => {
  const policy = page.headers['content-security-policy'] ?? ''
  for (const name of ['style', 'script']) {
    const content = new RegExp(`<${name}>([^]*?)</${name}>`).exec(text)?.[1] ?? ''
    const hash = createHash('sha256').update(content).digest('base64')
    assert.ok(policy.includes(`${name}-src 'sha256-${hash}'`), name)
  }
  assert.match(policy, /^default-src 'none';/)
  assert.doesNotMatch(policy, /unsafe|https?:|\*/)
  assert.doesNotMatch(text, / style="| on[a-z]+="/)
})

test('what is put into markup is escaped', () => {
  assert.equal(
    html`<b title="${'"x"'}">${'<i>&'}</b>`.text,
    '<b title="&quot;x&quot;">&lt;i&gt;&amp;</b>',
  )
})

test(
  'in a browser the page asks for nothing else, says no error, and its filter works',
  { skip: existsSync(chromiumPath) ? false : 'no Chromium on this machine' },
  async () => {
    const { chromium } = await import('playwright-core')
    const server = await startHttpServer({
      surface: (routes) => apiRoutes(routes, { version: '0.1.0' }),
    })
    const browser = await chromium.launch({
      executablePath: chromiumPath,
      // As root, as in containers, Chromium has no sandbox to offer; the page is our own.
      args: ['--no-sandbox'],
    })
    try {
      const tab = await browser.newPage({ viewport: { width: 390, height: 844 } })
      const requests: string[] = []
      const complaints: string[] = []
      tab.on('request', (request) => requests.push(request.url()))
      tab.on('console', (message) => complaints.push(message.text()))
      tab.on('pageerror', (error) => complaints.push(error.message))
      await tab.goto(`${server.url}/docs`)
      const visible = () => tab.locator('article[data-words]:visible').count()
      assert.equal(await visible(), catalogue.length)
      assert.equal(await tab.evaluate('document.documentElement.scrollWidth'), 390)

      await tab.fill('#filter', 'credential destructive')
      assert.equal(await visible(), 1)
      assert.ok(await tab.locator('#deleteCredential').isVisible())
      await tab.fill('#filter', 'no such thing')
      assert.ok(await tab.locator('#nothing').isVisible())
      await tab.press('#filter', 'Escape')
      assert.equal(await visible(), catalogue.length)

      assert.deepEqual(requests, [`${server.url}/docs`])
      assert.deepEqual(complaints, [])

      const plain = await browser.newPage({ javaScriptEnabled: false })
      await plain.goto(`${server.url}/docs#registerInstance`)
      assert.ok(await plain.locator('#registerInstance').isVisible())
      assert.equal(await plain.locator('#filter').isVisible(), false)
    } finally {
      await browser.close()
      await server.close()
    }
  },
)
