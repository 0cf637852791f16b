/** What is due when: a binary heap, so that ten thousand appointments cost one timer. */

export interface Appointment {
  readonly id: string
  readonly dueMs: number
}

export class DueQueue {
  readonly #heap: Appointment[] = []
  readonly #dueMs = new Map<string, number>()

  get size(): number {
    return this.#dueMs.size
  }

  /** One appointment per id; the newest counts. */
  set(id: string, dueMs: number): void {
    this.#dueMs.set(id, dueMs)
    this.#push({ id, dueMs })
    // What was set anew leaves its old place behind; they are swept before they outnumber the rest.
    if (this.#heap.length > 64 && this.#heap.length > 4 * this.#dueMs.size) this.#sweep()
  }

  delete(id: string): void {
    this.#dueMs.delete(id)
  }

  /** Null when there is nothing to wait for. */
  nextMs(): number | null {
    this.#dropStale()
    return this.#heap[0]?.dueMs ?? null
  }

  /** How many wait longer than that; reads them all, so it is for people who ask. */
  countDue(nowMs: number): number {
    let count = 0
    for (const dueMs of this.#dueMs.values()) if (dueMs < nowMs) count += 1
    return count
  }

  /** The most overdue one, taken out; null when none is due yet. */
  take(nowMs: number): Appointment | null {
    this.#dropStale()
    const first = this.#heap[0]
    if (!first || first.dueMs > nowMs) return null
    this.#pop()
    this.#dueMs.delete(first.id)
    return first
  }

  #dropStale(): void {
    for (let first = this.#heap[0]; first; first = this.#heap[0]) {
      if (this.#dueMs.get(first.id) === first.dueMs) return
      this.#pop()
    }
  }

  #sweep(): void {
    this.#heap.length = 0
    for (const [id, dueMs] of this.#dueMs) this.#push({ id, dueMs })
  }

  #push(appointment: Appointment): void {
    const heap = this.#heap
    let place = heap.length
    heap.push(appointment)
    while (place > 0) {
      const above = (place - 1) >> 1
      const parent = heap[above]
      if (!parent || parent.dueMs <= appointment.dueMs) break
      heap[place] = parent
      place = above
    }
    heap[place] = appointment
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (!last || heap.length === 0) return
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      const first = heap[left]
      if (!first) break
      const second = heap[left + 1]
      const useSecond = second !== undefined && second.dueMs < first.dueMs
      const smaller = useSecond ? second : first
      if (smaller.dueMs >= last.dueMs) break
      heap[place] = smaller
      place = useSecond ? left + 1 : left
    }
    heap[place] = last
  }
}
