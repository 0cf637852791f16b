/** Rows of health: one per instance, written over and over. */
export interface HealthTables {
  check_history: {
    instance_id: string
    /** A `CheckRecord` as text. */
    history: string
    written_at: Date
  }
}
