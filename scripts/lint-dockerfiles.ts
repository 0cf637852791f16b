/** Checks every Dockerfile of the repository offline; the build itself is another test's. */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { findFiles } from './checks.ts'

const root = path.resolve(import.meta.dirname, '..')
const tool = path.join(root, 'node_modules', '.bin', 'dockerfile-utils')

for (const file of findFiles(root, '{.,packages/*,services/*,deploy/**,e2e/**}/Dockerfile*')) {
  if (file.endsWith('.dockerignore')) continue
  const { status, stdout, stderr } = spawnSync(tool, ['lint', file], {
    cwd: root,
    encoding: 'utf8',
  })
  if (status === 0) continue
  console.error(`${file}\n${stdout}${stderr}`)
  process.exitCode = 1
}
