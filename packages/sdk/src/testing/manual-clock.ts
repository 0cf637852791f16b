/** A clock that moves when the test says so: timers run in the order in which they are due. */
import type { Cancel, Clock } from '../platform/clock.ts'

interface Timer {
  readonly dueMs: number
  readonly task: () => void
}

export class ManualClock implements Clock {
  #elapsedMs = 0
  #wallMs: number
  readonly #timers = new Set<Timer>()

  constructor(start: string = '2026-11-23T12:00:00.000Z') {
    this.#wallMs = Date.parse(start)
  }

  now(): Date {
    return new Date(this.#wallMs)
  }

  monotonicMs(): number {
    return this.#elapsedMs
  }

  after(delayMs: number, task: () => void): Cancel {
    const timer = { dueMs: this.#elapsedMs + Math.max(0, delayMs), task }
    this.#timers.add(timer)
    return () => {
      this.#timers.delete(timer)
    }
  }

  /** Timers that still wait; what has stopped leaves none. */
  get pending(): number {
    return this.#timers.size
  }

  /** Until the next timer is due; undefined when none waits. */
  get nextInMs(): number | undefined {
    const due = this.dueInMs
    return due.length === 0 ? undefined : Math.min(...due)
  }

  get dueInMs(): number[] {
    return [...this.#timers].map(({ dueMs }) => dueMs - this.#elapsedMs)
  }

  advance(byMs: number): void {
    const endMs = this.#elapsedMs + byMs
    for (let next = this.#next(endMs); next; next = this.#next(endMs)) {
      this.#timers.delete(next)
      this.#move(Math.max(next.dueMs, this.#elapsedMs))
      next.task()
    }
    this.#move(endMs)
  }

  #next(endMs: number): Timer | undefined {
    let next: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.dueMs <= endMs && (!next || timer.dueMs < next.dueMs)) next = timer
    }
    return next
  }

  #move(toMs: number): void {
    this.#wallMs += toMs - this.#elapsedMs
    this.#elapsedMs = toMs
  }
}
