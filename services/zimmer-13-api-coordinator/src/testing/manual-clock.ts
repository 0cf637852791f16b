/** A clock that moves when the test says so: timers run in the order in which they are due. */
import type { Cancel, Clock } from '../platform/clock/clock.ts'

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

  /** Timers that still wait; a stopped component leaves none. */
  get pending(): number {
    return this.#timers.size
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

  /** The process stood still: time has passed, and no timer ran meanwhile. */
  stall(byMs: number): void {
    this.stand(byMs)
    this.advance(0)
  }

  /** Time passes within a task, in which no timer can run. */
  stand(byMs: number): void {
    this.#move(this.#elapsedMs + byMs)
  }

  /** Somebody set the wall clock; nothing else moves. */
  setWall(to: string): void {
    this.#wallMs = Date.parse(to)
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
