/**
 * The little of our environment that a program needs: nothing that names a house or a key, so that it
 * knows only what its test tells it. With the folder of compiled code, or each one compiles anew.
 */
const handedOn = ['PATH', 'HOME', 'TMPDIR', 'NODE_OPTIONS', 'NODE_COMPILE_CACHE']

export function plainEnvironment(): Record<string, string> {
  const plain: Record<string, string> = {}
  for (const name of handedOn) {
    const value = process.env[name]
    if (value !== undefined) plain[name] = value
  }
  return plain
}
