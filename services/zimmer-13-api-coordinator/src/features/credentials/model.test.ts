/** Random histories against a model of what each service may have, in the process that wrote them and in one that starts later. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { databaseKinds, needsDatabase } from '../../testing/databases.ts'
import {
  openTestHouse,
  operatorDoes,
  readValues,
  type TestProcess,
} from '../../testing/credentials-house.ts'

const names = ['a', 'b', 'c'] as const
const services = ['orders', 'billing'] as const

type Step =
  | { do: 'create'; name: string; grants: string[] }
  | { do: 'addVersion'; name: string; cas: number | null }
  | { do: 'grant'; name: string; grants: string[] }
  | { do: 'update'; name: string; grants: string[] }
  | { do: 'remove'; name: string }

const name = fc.constantFrom(...names)
const grants = fc.subarray([...services])
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('create' as const), name, grants }),
    fc.record({
      do: fc.constant('addVersion' as const),
      name,
      cas: fc.option(fc.integer({ min: 1, max: 3 })),
    }),
    fc.record({ do: fc.constant('grant' as const), name, grants }),
    fc.record({ do: fc.constant('update' as const), name, grants }),
    fc.record({ do: fc.constant('remove' as const), name }),
  ),
  { maxLength: 25 },
)

interface Modelled {
  id: string
  version: number
  grants: string[]
  value: string
}

/** Does one step to both, and checks that they agree on whether it can be done. */
async function take(
  { credentials }: TestProcess,
  model: Map<string, Modelled>,
  step: Step,
  value: string,
): Promise<void> {
  const known = model.get(step.name)
  const data = { value }
  if (step.do === 'create') {
    const input = { name: step.name, data, services: step.grants, cacheTtlSeconds: 600 }
    const creating = credentials.create(input, operatorDoes('createCredential'))
    if (known) return assert.rejects(creating, { code: 'name_taken' })
    const { id } = await creating
    model.set(step.name, { id, version: 1, grants: step.grants, value })
    return
  }
  if (!known) return
  const { id } = known
  switch (step.do) {
    case 'addVersion': {
      const cas = step.cas === null ? {} : { cas: step.cas }
      const adding = credentials.addVersion(
        id,
        { data, ...cas },
        operatorDoes('addCredentialVersion'),
      )
      if (step.cas !== null && step.cas !== known.version) {
        return assert.rejects(adding, { code: 'version_conflict' })
      }
      await adding
      known.version++
      known.value = value
      return
    }
    case 'grant':
      await credentials.update(id, { services: step.grants }, operatorDoes('updateCredential'))
      known.grants = step.grants
      return
    case 'update':
      await credentials.update(
        id,
        { services: step.grants, data },
        operatorDoes('updateCredential'),
      )
      known.version++
      known.grants = step.grants
      known.value = value
      return
    case 'remove':
      await credentials.remove(id, operatorDoes('deleteCredential'))
      model.delete(step.name)
  }
}

async function assertAsModelled(
  { credentials }: TestProcess,
  model: Map<string, Modelled>,
): Promise<void> {
  for (const service of services) {
    const granted = [...model].filter(([, each]) => each.grants.includes(service))
    const expected = granted.map(([key, { id, version, value }]) => [
      key,
      { id, version, data: { value }, expiresAt: null },
    ])
    assert.deepEqual(await readValues(credentials, service), Object.fromEntries(expected))
    assert.deepEqual(
      { ...credentials.versionsOf(service) },
      Object.fromEntries(granted.map(([key, { version }]) => [key, version])),
    )
  }
  assert.deepEqual(
    credentials.list({}).items.map((item) => item.name),
    [...model.keys()].toSorted(),
  )
}

for (const kind of databaseKinds) {
  test(
    `${kind}: after any history every service has what the model says, here and after a restart`,
    needsDatabase(kind),
    async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (history) => {
          await using house = await openTestHouse(kind)
          const model = new Map<string, Modelled>()
          for (const [place, step] of history.entries()) {
            await take(house, model, step, `value ${place}`)
            await assertAsModelled(house, model)
          }
          await assertAsModelled(await house.another(), model)
          assert.equal(house.credentials.status().integrityFailures, 0)
        }),
        { numRuns: 12 },
      )
    },
  )
}
