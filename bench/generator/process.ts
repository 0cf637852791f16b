/** The generator's own process: takes one plan, answers with one result, and ends with its parent. */
import type { FromGenerator, Plan } from './plan.ts'
import { runPlan } from './run-plan.ts'

const tell = (message: FromGenerator): void => void process.send?.(message)

process.once('disconnect', () => process.exit(1))
process.once('message', (plan: Plan) => {
  void runPlan(plan, {
    onMeasuring: () => tell({ type: 'measuring' }),
    onMeasured: () => tell({ type: 'measured' }),
    onProgress: (answered, failed) => tell({ type: 'progress', answered, failed }),
  }).then(
    (result) => {
      process.send?.({ type: 'result', result } satisfies FromGenerator, () => process.exit(0))
    },
    (error: unknown) => {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
      process.send?.({ type: 'error', message } satisfies FromGenerator, () => process.exit(1))
    },
  )
})
