/** Colours carry no meaning alone: the word is always there too. */
import { styleText } from 'node:util'
import type { Look } from '../surroundings.ts'

export type Tone = 'good' | 'poor' | 'bad' | 'quiet' | 'strong'

const styles = {
  good: 'green',
  poor: 'yellow',
  bad: 'red',
  quiet: 'dim',
  strong: 'bold',
} as const satisfies Record<Tone, Parameters<typeof styleText>[0]>

export function toned(text: string, tone: Tone | undefined, look: Look): string {
  if (tone === undefined || !look.colour || text === '') return text
  return styleText(styles[tone], text, { validateStream: false })
}

/** How a state, a service's health, an outcome is coloured. */
export function toneOf(word: string): Tone | undefined {
  switch (word) {
    case 'healthy':
    case 'ready':
    case 'available':
    case 'allowed':
    case 'open':
      return 'good'
    case 'degraded':
    case 'suspect':
    case 'pending':
    case 'draining':
    case 'maintenance':
    case 'starting':
    case 'half-open':
      return 'poor'
    case 'offline':
    case 'unavailable':
    case 'denied':
    case 'failed':
      return 'bad'
    case 'unknown':
    case '-':
      return 'quiet'
    default:
      return undefined
  }
}

/** A sign before the word, for the eye that runs down a column. */
export function stateText(word: string, look: Look): string {
  return look.colour && look.unicode ? `● ${word}` : word
}
