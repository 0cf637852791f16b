/** A page that points nowhere is worse than one that says less. Addresses outside are not asked. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { findFiles } from './checks.ts'

const root = path.resolve(import.meta.dirname, '..')

test('every link between the pages of the repository leads to a file, and to a heading in it', () => {
  const pages = findFiles(root, '**/*.md')
  assert.ok(pages.length > 10)
  const dead = pages.flatMap((page) =>
    linksOf(withoutCode(readFileSync(path.join(root, page), 'utf8')))
      .filter((link) => !leadsSomewhere(page, link))
      .map((link) => `${page}: ${link}`),
  )
  assert.deepEqual(dead, [])
})

function leadsSomewhere(page: string, link: string): boolean {
  const [file = '', anchor] = link.split('#')
  const target = file === '' ? page : path.join(path.dirname(page), file)
  if (!existsSync(path.join(root, target))) return false
  if (anchor === undefined || !target.endsWith('.md')) return true
  return headingsOf(readFileSync(path.join(root, target), 'utf8')).includes(anchor)
}

function linksOf(markdown: string): string[] {
  return [...markdown.matchAll(/\]\(([^()\s]+)\)/g)]
    .map(([, link]) => link ?? '')
    .filter((link) => !/^[a-z]+:/.test(link))
}

function withoutCode(markdown: string): string {
  return markdown.replaceAll(/^```[^]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '')
}

/** As GitHub makes them: lower case, hyphens for spaces, nothing but letters, digits, hyphens. */
function headingsOf(markdown: string): string[] {
  return [...markdown.replaceAll(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, text]) =>
    (text ?? '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  )
}
