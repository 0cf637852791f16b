/**
 * The one way by which state changes.
 *
 * Every change is an entry: guarded writes to rows, the events that tell of them, and the audit
 * record of who did it. Entries are committed in groups, in one order, gapless, on any number of
 * processes over one database. `append` answers when the entry is durable and this process's
 * projections have applied it; before that nothing may be acknowledged.
 */

/** A fact to be. `data` holds ids, names and addresses; never a secret value. */
export interface NewEvent {
  readonly type: string
  /** What it is about: `services/orders`, `credentials/orders-database`. */
  readonly subject: string
  /** The service that may see it; null: operators only. */
  readonly service: string | null
  readonly data: Readonly<Record<string, unknown>>
}

/** A fact that is. */
export interface LedgerEvent extends NewEvent {
  /** Gapless, in commit order. */
  readonly index: number
  /** RFC 3339, the database's clock. */
  readonly time: string
}

export interface AuditEntry {
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly outcome: 'allowed' | 'denied' | 'failed'
  readonly code: string | null
  readonly source: string | null
  readonly requestId: string | null
  readonly detail: Readonly<Record<string, unknown>>
}

/**
 * A set-based statement that many entries of one group share: one round trip for all their rows.
 *
 * `sql` takes $1, a jsonb array of rows, each with `ord` (its place in the group) and `index`
 * (the index of its entry's last event) beside the fields of `Row`; it returns one column `ord`
 * for every row whose guard held. A row that does not come back lost its guard, and its entry
 * fails with `GuardLost` while the rest of the group stands.
 */
export interface WriteOperation<Row extends object> {
  readonly name: string
  readonly sql: string
  /** Ties the statement to its row type; never present at run time. */
  readonly row?: Row
}

export interface Write {
  readonly operation: WriteOperation<object>
  readonly row: object
}

export function write<Row extends object>(
  operation: WriteOperation<Row>,
  row: NoInfer<Row>,
): Write {
  return { operation, row }
}

export interface Entry {
  /**
   * What it touches, such as `instance:<id>`. Two entries with a common key never share a group,
   * because a set-based statement cannot see its own effects; they are committed in the order of
   * their `append`.
   */
  readonly keys: readonly string[]
  readonly writes: readonly Write[]
  readonly events: readonly NewEvent[]
  readonly audit: AuditEntry | null
}

export interface Receipt {
  /** The index of the entry's last event; of the house if it had none. */
  readonly index: number
  /** The database's clock at the commit, RFC 3339. */
  readonly time: string
}

/** A write's guard did not hold: somebody else was faster. */
export class GuardLost extends Error {
  override readonly name = 'GuardLost'
  readonly operation: string

  constructor(operation: string) {
    super(`the guard of ${operation} did not hold`)
    this.operation = operation
  }
}

/** State in memory that follows the ledger. Applied in index order, without gaps, before `append` answers. */
export interface Projection {
  apply(events: readonly LedgerEvent[]): void | Promise<void>
}

export interface LedgerStatus {
  readonly index: number
  /** Entries that wait for a flush. */
  readonly queued: number
  readonly available: boolean
  /**
   * False while the database is away, and while the ledger is not started. One that only holds up
   * writes can still be asked.
   */
  readonly readable: boolean
  /** Why writes are not available, one sentence. */
  readonly error: string | null
  /** Since this process last knew that it was up to date; 0 while it is. */
  readonly ageMs: number
  readonly flushP99Ms: number
}

export interface Ledger {
  /** @throws HausError writes_unavailable, write_outcome_unknown; GuardLost; pg.DatabaseError of a constraint. */
  append(entry: Entry): Promise<Receipt>
  /** Events after `index`, at most `limit`, oldest first. */
  read(afterIndex: number, limit: number): Promise<LedgerEvent[]>
  /** The lowest index that is still kept; `index + 1` when none is. */
  oldestIndex(): Promise<number>
  status(): LedgerStatus
}
