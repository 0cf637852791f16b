/**
 * The next turn of the event loop: after whatever has arrived by now has been seen. It is an order
 * and not a time, so no clock stands in for it.
 */
export function nextTurn<T>(task: (argument: T) => void, argument: T): void {
  setImmediate(task, argument)
}
