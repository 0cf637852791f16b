/**
 * Connections to one instance in a stack: the one used last is used next, the others grow cold and
 * are closed. Finding one costs the same for 1 and for 256.
 *
 * A request is not written in the turn of the loop in which it came: bytes that nobody asked for,
 * and a close, that have arrived on an idle connection by then are read first, and end it.
 */
import { nextTurn } from '../../../../platform/clock/next-turn.ts'
import type { TrafficInstance } from '../../messages.ts'
import { Connector, type ConnectRules } from './connect.ts'
import { UpstreamConnection, type Attempt } from './connection.ts'
import { asError } from '../../../../platform/errors/thrown.ts'

export class ConnectionStack {
  readonly #connector: Connector
  readonly #idle: UpstreamConnection[] = []
  #due: Attempt[] = []
  #retired = false

  constructor(at: TrafficInstance, rules: ConnectRules) {
    this.#connector = new Connector(at, rules)
  }

  get idle(): number {
    return this.#idle.length
  }

  /** In the next turn, on a connection that is quiet or new. */
  dispatch(attempt: Attempt): void {
    if (this.#due.push(attempt) === 1) nextTurn(sendDue, this)
  }

  sendDue(): void {
    const due = this.#due
    this.#due = []
    for (const attempt of due) if (attempt.awaits(this)) this.#send(attempt)
  }

  #send(attempt: Attempt): void {
    const kept = this.#idle.pop()
    if (kept !== undefined) {
      kept.send(attempt)
      return
    }
    try {
      const connection = new UpstreamConnection(this.#connector, attempt, (lost) =>
        this.#lost(lost),
      )
      attempt.onConnecting(connection)
    } catch (error) {
      attempt.onAttemptFailed(asError(error), false)
    }
  }

  /** After a whole answer. */
  giveBack(connection: UpstreamConnection, nowMs: number): void {
    if (this.#retired || !connection.reusable) {
      connection.destroy()
      return
    }
    if (connection.rest(nowMs)) this.#idle.push(connection)
    else connection.destroy()
  }

  /** Closes what has not been used for so long that the instance may close it. */
  sweep(nowMs: number): void {
    for (const connection of this.#idle.filter(({ idleUntilMs }) => idleUntilMs <= nowMs)) {
      connection.destroy()
    }
  }

  /** The instance is gone: what runs may finish, nothing new begins. */
  retire(): void {
    this.#retired = true
    for (const connection of this.#idle.splice(0)) connection.destroy()
  }

  #lost(connection: UpstreamConnection): void {
    const place = this.#idle.lastIndexOf(connection)
    if (place !== -1) this.#idle.splice(place, 1)
  }
}

function sendDue(stack: ConnectionStack): void {
  stack.sendDue()
}
