/**
 * What one module imports and whether it touches the global `process`, read from its syntax tree.
 */
import { parseSync, Visitor } from 'oxc-parser'

export type ModuleImport = {
  readonly specifier: string
  readonly line: number
  /** Gone after type stripping. */
  readonly typeOnly: boolean
  /** Named by `new URL('./x.ts', import.meta.url)`: loaded by another thread, not by this module. */
  readonly worker?: true
  /** Takes nothing from node:process but who this process is. */
  readonly onlyIdentity?: true
}

/** Facts that nothing can set: no configuration hides in them, and no behaviour. */
const processIdentity: ReadonlySet<string> = new Set(['pid', 'geteuid'])

export type ModuleFacts = {
  readonly imports: readonly ModuleImport[]
  /** Lines with `process`, `globalThis.process` or an import of node:process beyond its identity. */
  readonly processUses: readonly number[]
}

export function readModule(file: string, source: string): ModuleFacts {
  const { program, module, errors } = parseSync(file, source)
  const [error] = errors
  if (error !== undefined) throw new Error(`${file}: ${error.message}`)
  const lineAt = (offset: number): number => source.slice(0, offset).split('\n').length

  const imports: ModuleImport[] = []
  for (const { moduleRequest, entries, start, end } of module.staticImports) {
    // `import {} from` and `import 'x'` run the module, `import type` and `{ type A }` do not.
    const keyword = source.slice(start, end)
    const typeOnly =
      /^import\s+type\b(?!\s*(,|from\b))/.test(keyword) ||
      (entries.length > 0 && entries.every((entry) => entry.isType))
    const onlyIdentity =
      entries.length > 0 &&
      entries.every(({ importName }) => processIdentity.has(importName.name ?? ''))
    imports.push({
      specifier: moduleRequest.value,
      line: lineAt(start),
      typeOnly,
      ...(onlyIdentity && { onlyIdentity }),
    })
  }
  for (const { entries, start } of module.staticExports) {
    const [first] = entries
    if (!first?.moduleRequest) continue
    const typeOnly = entries.every((entry) => entry.isType)
    imports.push({ specifier: first.moduleRequest.value, line: lineAt(start), typeOnly })
  }

  const processUses: number[] = []
  const mentions: number[] = []
  /** Where `process` is the name of a property, not the global. */
  const names = new Set<number>()
  const visitor = new Visitor({
    ImportExpression({ source: specifier, start }) {
      if (specifier.type === 'Literal' && typeof specifier.value === 'string') {
        imports.push({ specifier: specifier.value, line: lineAt(start), typeOnly: false })
      }
    },
    NewExpression({ callee, arguments: given, start }) {
      // new URL('./worker.ts', import.meta.url): how a worker thread is named.
      const [first] = given
      const isUrl = callee.type === 'Identifier' && callee.name === 'URL' && given.length === 2
      if (isUrl && first?.type === 'Literal' && typeof first.value === 'string') {
        if (/^\.{1,2}\/.*\.ts$/.test(first.value)) {
          const line = lineAt(start)
          imports.push({ specifier: first.value, line, typeOnly: false, worker: true })
        }
      }
    },
    TSImportType({ source: specifier, start }) {
      imports.push({ specifier: specifier.value, line: lineAt(start), typeOnly: true })
    },
    MemberExpression({ object, property, computed, start }) {
      if (!computed) names.add(property.start)
      const onGlobal = object.type === 'Identifier' && object.name === 'globalThis'
      const literal = property.type === 'Literal' ? property.value : undefined
      const named = !computed && property.type === 'Identifier' ? property.name : literal
      if (onGlobal && named === 'process') processUses.push(lineAt(start))
    },
    Property: ({ key, computed, shorthand }) =>
      void (computed || shorthand || names.add(key.start)),
    PropertyDefinition: ({ key, computed }) => void (computed || names.add(key.start)),
    MethodDefinition: ({ key, computed }) => void (computed || names.add(key.start)),
    TSPropertySignature: ({ key, computed }) => void (computed || names.add(key.start)),
    TSMethodSignature: ({ key, computed }) => void (computed || names.add(key.start)),
    Identifier({ name, start }) {
      if (name === 'process') mentions.push(start)
    },
  })
  visitor.visit(program)
  for (const start of mentions) if (!names.has(start)) processUses.push(lineAt(start))
  for (const { specifier, line, onlyIdentity } of imports) {
    if (/^(node:)?process$/.test(specifier) && !onlyIdentity) processUses.push(line)
  }
  return { imports, processUses: [...new Set(processUses)].toSorted((a, b) => a - b) }
}
