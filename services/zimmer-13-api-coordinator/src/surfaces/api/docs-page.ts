/**
 * The API page, rendered once from the OpenAPI document. It asks nobody for anything: style and
 * script are in it, and its policy allows these two by their hash and nothing else.
 */
import { createHash } from 'node:crypto'
import { errorKinds } from '@haus/contract'
import type {
  JsonSchema,
  OpenApiDocument,
  OpenApiOperation,
  OpenApiParameter,
  OpenApiResponse,
} from '@haus/contract'
import { docsFilter } from './docs-filter.ts'
import { docsStyle } from './docs-style.ts'
import { html, prose, trusted } from './markup.ts'
import type { Markup } from './markup.ts'
import { fieldRows, limitsOf } from './schema-fields.ts'

export interface DocsPage {
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
}

interface Entry {
  readonly method: string
  readonly path: string
  readonly operation: OpenApiOperation
}

export function renderDocsPage(document: OpenApiDocument): DocsPage {
  const entries = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      operation,
    })),
  )
  const tags = document.tags.map((tag) => ({
    ...tag,
    entries: entries.filter(({ operation }) => operation.tags.includes(tag.name)),
  }))
  const { info } = document
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="referrer" content="no-referrer" />
        <title>${info.title} API</title>
        <link rel="icon" href="${icon}" />
        ${element('style', docsStyle)}
      </head>
      <body>
        <div class="frame">
          <nav aria-label="Operations">
            <p class="house"><a href="#top">${info.title} API</a> <span>${info.version}</span></p>
            <label hidden
              ><input
                id="filter"
                type="search"
                placeholder="Filter (press /)"
                aria-label="Filter operations"
                autocomplete="off"
                spellcheck="false"
            /></label>
            <details>
              <summary>All operations</summary>
              ${tags.map(
                (tag) =>
                  html`<section data-tag>
                    <h2>${tag.name}</h2>
                    <ul>
                      ${tag.entries.map(
                        (entry) =>
                          html`<li data-words="${wordsOf(entry, tag.name)}">
                            <a href="#${entry.operation.operationId}">${entry.operation.summary}</a>
                          </li> `,
                      )}
                    </ul>
                  </section> `,
              )}
              <section>
                <h2>Reference</h2>
                <ul>
                  <li><a href="#errors">Error codes</a></li>
                  <li><a href="/openapi.json">openapi.json</a></li>
                </ul>
              </section>
            </details>
          </nav>
          <main id="top">
            <header data-unfiltered>
              <h1>${info.title} API</h1>
              <p class="lead">${info.summary}.</p>
              ${info.description.split('\n\n').map((paragraph) => html`<p>${prose(paragraph)}</p> `)}
              <p>Fields with <span class="required">*</span> are required.</p>
            </header>
            <p id="nothing" class="nothing" hidden>No operation fits the filter.</p>
            ${tags.map(
              (tag) =>
                html`<section class="tag" data-tag>
                  <h2>${tag.name}</h2>
                  <p>${prose(tag.description)}</p>
                  ${tag.entries.map((entry) => operationCard(entry, tag.name, document))}
                </section> `,
            )}${errorSection()}
          </main>
        </div>
        ${element('script', docsFilter)}
      </body>
    </html> `
  return {
    body: Buffer.from(page.text),
    headers: {
      'content-security-policy': [
        "default-src 'none'",
        `style-src '${hashOf(docsStyle)}'`,
        `script-src '${hashOf(docsFilter)}'`,
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
      ].join('; '),
      'referrer-policy': 'no-referrer',
      // The same until the next version; a reload asks again.
      'cache-control': 'no-cache',
    },
  }
}

/** A house, drawn in the page: a browser would ask for /favicon.ico otherwise. */
const icon = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#c2571a" d="M8 1 1 7h2v8h4v-5h2v5h4V7h2z"/></svg>',
)}`

/** Between its tags to the letter: the policy names its hash. */
function element(name: 'style' | 'script', text: string): Markup {
  return trusted(`<${name}>${text}</${name}>`)
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

function wordsOf({ method, path, operation }: Entry, tag: string): string {
  return [method, path, operation.operationId, operation.summary, tag, effectOf(operation)]
    .concat(operation['x-haus-permission'])
    .join(' ')
    .toLowerCase()
}

function effectOf(operation: OpenApiOperation): string {
  return operation['x-haus-effect']
}

function operationCard(entry: Entry, tag: string, document: OpenApiDocument): Markup {
  const { method, path, operation } = entry
  const effect = effectOf(operation)
  const permission = operation['x-haus-permission']
  const body = operation.requestBody?.content['application/json']
  const takes = Object.keys(operation.requestBody?.content ?? {})
  return html`<article id="${operation.operationId}" data-words="${wordsOf(entry, tag)}">
    <h3><a href="#${operation.operationId}">${operation.summary}</a></h3>
    <p class="route">
      <span class="method ${effect}">${method}</span> <span class="path">${path}</span>
    </p>
    <ul class="badges">
      <li class="${effect}">${effect}</li>
      <li>${permission === 'public' ? 'public: no token' : permission}</li>
      <li>${operation.operationId}</li>
    </ul>
    ${operation.description === undefined ? null : html`<p>${prose(operation.description)}</p>`}
    ${parameterTable(operation.parameters ?? [])}
    ${
      body === undefined
        ? null
        : html`<h4>Body · ${takes.join(' or ')}</h4>
            ${fieldTable(body.schema, document)}`
    }
    <h4>Answers</h4>
    ${answers(operation, document)}
    <details class="example">
      <summary>Example</summary>
      <pre><code>${curlOf(entry)}</code></pre>
      ${exampleAnswer(operation)}
    </details>
    <details>
      <summary>Refusals</summary>
      ${refusals(operation)}
    </details>
  </article> `
}

function parameterTable(parameters: readonly OpenApiParameter[]): Markup | null {
  if (parameters.length === 0) return null
  return html`<h4>Parameters</h4>
    <div class="scroll">
      <table class="fields">
        <thead>
          <tr>
            <th>Name</th>
            <th>In</th>
            <th>Limits</th>
            <th>Meaning</th>
          </tr>
        </thead>
        <tbody>
          ${parameters.map(
            ({ name, in: place, required, schema, description }) =>
              html`<tr>
                <td>${name}${mark(required)}</td>
                <td class="type">${place}</td>
                <td>${limitCell(limitsOf(schema))}</td>
                <td>${prose(description ?? '')}</td>
              </tr> `,
          )}
        </tbody>
      </table>
    </div>`
}

function fieldTable(schema: JsonSchema, document: OpenApiDocument): Markup | null {
  const rows = fieldRows(schema, document)
  if (rows.length === 0) return null
  return html`<div class="scroll">
    <table class="fields">
      <thead>
        <tr>
          <th>Field</th>
          <th>Type</th>
          <th>Limits</th>
          <th>Meaning</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ({ name, required, type, limits, description }) =>
            html`<tr>
              <td>${name}${mark(required)}</td>
              <td class="type">${type}</td>
              <td>${limitCell(limits)}</td>
              <td>${prose(description)}</td>
            </tr> `,
        )}
      </tbody>
    </table>
  </div>`
}

function mark(required: boolean): Markup | null {
  return required ? html` <span class="required" title="required">*</span>` : null
}

function limitCell(limits: string): Markup | null {
  return limits === '' ? null : html`<small>${prose(limits)}</small>`
}

function answers(operation: OpenApiOperation, document: OpenApiDocument): Markup {
  const own = Object.entries(operation.responses).filter(([, answer]) => !isRefusal(answer))
  return html`<dl class="answers">
      ${own.map(
        ([status, answer]) =>
          html`<dt>${status}</dt>
            <dd>${prose(answer.description)}${headerNotes(answer)}</dd> `,
      )}
    </dl>
    ${own.map(([status, answer]) => {
      const schema = answer.content?.['application/json']?.schema
      const table = schema === undefined ? null : fieldTable(schema, document)
      return table === null
        ? null
        : html`<details>
            <summary>Fields of the answer ${status}</summary>
            ${table}
          </details>`
    })}`
}

function headerNotes(answer: OpenApiResponse): readonly Markup[] {
  return Object.entries(answer.headers ?? {}).map(
    ([name, { description }]) => html` <code>${name}</code>: ${prose(description)}`,
  )
}

function isRefusal(answer: OpenApiResponse): boolean {
  return answer['x-haus-codes'] !== undefined
}

function refusals(operation: OpenApiOperation): Markup {
  return html`<div class="scroll">
    <table class="codes">
      <tbody>
        ${Object.entries(operation.responses).map(([status, answer]) =>
          isRefusal(answer)
            ? html`<tr>
                <td>${status}</td>
                <td>
                  ${(answer['x-haus-codes'] ?? []).map((code) => html`<a href="#error-${code}"><code>${code}</code></a> `)}
                </td>
              </tr> `
            : null,
        )}
      </tbody>
    </table>
  </div>`
}

function curlOf({ method, path, operation }: Entry): string {
  const parameters = operation.parameters ?? []
  let target = path
  const query: string[] = []
  for (const { in: place, name, example } of parameters) {
    if (example === undefined) continue
    if (place === 'path') target = target.replace(`{${name}}`, example)
    else if (place === 'query') query.push(`${name}=${encodeURIComponent(example)}`)
  }
  const url = `"$HAUS_URL${target}${query.length === 0 ? '' : `?${query.join('&')}`}"`
  const lines = [`curl ${method === 'GET' ? '' : `-X ${method} `}${url}`]
  if (operation['x-haus-permission'] !== 'public') {
    lines.push(`-H "Authorization: Bearer $HAUS_TOKEN"`)
  }
  const example = operation.requestBody?.content['application/json']?.example
  if (example !== undefined) {
    lines.push(`-H 'Content-Type: application/json'`)
    lines.push(`-d '${JSON.stringify(example, null, 2).replaceAll("'", String.raw`'\''`)}'`)
  }
  return lines.join(' \\\n  ')
}

function exampleAnswer(operation: OpenApiOperation): Markup | null {
  for (const [status, answer] of Object.entries(operation.responses)) {
    const example = answer.content?.['application/json']?.example
    if (example !== undefined) {
      return html`<h4>Answer ${status}</h4>
        <pre><code>${JSON.stringify(example, null, 2)}</code></pre>`
    }
  }
  return null
}

function errorSection(): Markup {
  const codes = Object.entries(errorKinds).filter(([, kind]) => kind.status !== null)
  return html`<section class="tag" id="errors" data-unfiltered>
    <h2>Error codes</h2>
    <p>A code never changes its meaning. Branch on the code, show the detail.</p>
    <article>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>Code</th>
              <th>Status</th>
              <th>Meaning</th>
            </tr>
          </thead>
          <tbody>
            ${codes.map(
              ([code, kind]) =>
                html`<tr id="error-${code}">
                  <td>${code}</td>
                  <td>${kind.status}</td>
                  <td>${kind.title}</td>
                </tr> `,
            )}
          </tbody>
        </table>
      </div>
    </article>
  </section>`
}
