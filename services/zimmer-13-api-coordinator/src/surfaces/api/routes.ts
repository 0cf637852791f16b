/** The house's description of itself, made once: as a document for programs and as a page for people. */
import { getDocs, getOpenApi, openApiDocument } from '@haus/contract'
import type { Routes } from '../../platform/http/index.ts'
import { renderDocsPage } from './docs-page.ts'

export function apiRoutes(routes: Routes, { version }: { readonly version: string }): void {
  const document = openApiDocument({ version })
  const json = Buffer.from(JSON.stringify(document))
  const page = renderDocsPage(document)

  routes.implement(getOpenApi, () => ({ status: 200, raw: json }))
  routes.implement(getDocs, () => ({ status: 200, raw: page.body, headers: page.headers }))
}
