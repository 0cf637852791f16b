/** `docs/reference/errors.md`: every way Haus says no, and which operations say it. */
import { catalogue, errorCodesOf, errorKinds } from '@haus/contract'
import type { ErrorCode } from '@haus/contract'
import type { GeneratedFile } from './generate.ts'

export function generateErrors(): GeneratedFile {
  const answers: string[] = []
  const exits: string[] = []
  for (const [name, kind] of Object.entries(errorKinds)) {
    const code = name as ErrorCode
    if (kind.status === null) exits.push(`| \`${code}\` | ${kind.exitCode} | ${kind.title} |`)
    else answers.push(`| \`${code}\` | ${kind.status} | ${kind.title} | ${operationsWith(code)} |`)
  }
  const text = `# Error codes

Generated from \`packages/contract/src/errors.ts\`; do not edit.

A code is a promise: its meaning never changes. Clients branch on \`code\`, people read \`detail\`, which says what to mend, and \`errors\` names every field that does not fit.

## Answers

Problem documents (RFC 9457) of the type \`urn:haus:error:<code>\`. The token endpoint alone answers in the shape of RFC 6749.

| Code | Status | Title | Operations |
| --- | --- | --- | --- |
${answers.join('\n')}

## Before the door opens

What ends the process before a listener is open: one sentence on standard error, and this exit code.

| Code | Exit code | Title |
| --- | --- | --- |
${exits.join('\n')}
`
  return {
    path: 'docs/reference/errors.md',
    content: text,
  }
}

function operationsWith(code: ErrorCode): string {
  const named = catalogue.filter((operation) => operation.errors.includes(code))
  if (named.length > 0) return named.map((operation) => `\`${operation.id}\``).join(', ')
  const sharing = catalogue.filter((operation) => errorCodesOf(operation).includes(code))
  if (sharing.length === catalogue.length) return 'all'
  return sharing.length === 0 ? 'none by itself' : `${sharing.length} of ${catalogue.length}`
}
