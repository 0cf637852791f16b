/** A ledger event as the CloudEvent that leaves the house (CloudEvents 1.0, structured JSON). */
import type { LedgerEvent } from '../../platform/ledger/index.ts'

export function cloudEventOf(event: LedgerEvent, houseId: string) {
  return {
    specversion: '1.0',
    id: String(event.index),
    source: `/haus/${houseId}`,
    type: event.type,
    subject: event.subject,
    time: event.time,
    datacontenttype: 'application/json',
    data: event.data,
  } as const
}

/** One server-sent event (HTML Living Standard, section 9.2). JSON has no raw line break to escape. */
export function serverSentEvent(name: string | null, id: number, data: unknown): string {
  return `${name === null ? '' : `event: ${name}\n`}id: ${id}\ndata: ${JSON.stringify(data)}\n\n`
}

/** Without data it sets the place to resume after and is no event (the same section, 9.2.6). */
export function resumePoint(id: number): string {
  return `id: ${id}\n\n`
}
