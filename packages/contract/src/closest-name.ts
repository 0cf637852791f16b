/** A misspelt name is answered with the one that was probably meant. */

/** The known name that `given` is probably a slip of; null when none is near. */
export function closestName(given: string, known: readonly string[]): string | null {
  if (given.length > 64) return null
  const plain = given.toLowerCase().replaceAll(/[_-]/g, '')
  let best: string | null = null
  // A third of the letters may be wrong: `adress` and `health_endpoint` are near, `foo` is not.
  let bestDistance = Math.floor(plain.length / 3) + 1
  for (const name of known) {
    const distance = editDistance(plain, name.toLowerCase())
    if (distance < bestDistance) {
      best = name
      bestDistance = distance
    }
  }
  return best
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, place) => place)
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= right.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? 0
}
