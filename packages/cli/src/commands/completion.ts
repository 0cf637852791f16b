import type { Command } from '../command.ts'
import { completionScripts, shells } from '../completion-scripts.ts'
import type { Context } from '../context.ts'
import { exitCodes, usageFailure } from '../failure.ts'
import { collect } from '../house.ts'
import type { ParsedArguments } from '../parse-arguments.ts'
import { suggest } from '../suggest.ts'
import { serviceNames } from './service-names.ts'

/** A person waits with a finger on the key; names of a house that takes longer are left out. */
const namesTimeoutMs = 1_500
const credentialsMax = 10_000

export const completionCommand: Command = {
  name: 'completion',
  summary: 'print what a shell needs to complete commands and names',
  positionals: [{ name: 'SHELL', summary: 'bash, zsh or fish', complete: shells }],
  examples: [
    ['source <(haus completion bash)', 'in ~/.bashrc'],
    ['source <(haus completion zsh)', 'in ~/.zshrc, after compinit'],
    ['haus completion fish >~/.config/fish/completions/haus.fish', 'once'],
  ],
  run: ({ screen }, args) => {
    const wanted = args.positional(0)
    const shell = shells.find((name) => name === wanted)
    if (shell === undefined) throw usageFailure(`SHELL is one of ${shells.join(', ')}.`)
    screen.print(completionScripts[shell])
    return Promise.resolve(exitCodes.ok)
  },
  subcommands: [
    {
      name: 'suggest',
      summary: 'what may come next; asked by the scripts',
      hidden: true,
      house: true,
      program: true,
      run: answer,
    },
  ],
}

async function answer(context: Context, args: ParsedArguments): Promise<number> {
  const words = args.program ?? []
  const current = words.at(-1) ?? ''
  const { words: known, more } = suggest(context.root, words)
  for (const { word, summary } of known) context.screen.print(`${word}\t${summary}\n`)
  if (more === 'file') context.screen.print(':file\n')
  else if (more !== undefined) {
    // Nothing to say is an answer too: no house, no token, no time.
    const names = await namesOf(context, more).catch(() => [])
    for (const name of names)
      if (name.startsWith(current)) context.screen.print(`${name}\t${more}\n`)
  }
  return exitCodes.ok
}

async function namesOf(context: Context, kind: 'service' | 'credential'): Promise<string[]> {
  const { client } = context.house()
  const signal = AbortSignal.timeout(namesTimeoutMs)
  if (kind === 'service') return serviceNames(client, signal)
  const { items } = await collect(credentialsMax, (query) =>
    client.call('listCredentials', { query, signal }),
  )
  return items.map(({ name }) => name)
}
