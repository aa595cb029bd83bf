import type { RouterId } from '@waiter/base'
import { OPINION_MS_MAX } from './lost-routers.ts'
import type { RouterQuestions } from './router-questions.ts'
import type { RouterSession } from './router-session.ts'

/** Whether any attached router hears another one by gossip. Never rejects: without an answer, nobody does. */
export async function isHeardByOthers(
  routerId: RouterId,
  questions: RouterQuestions,
  sessions: Iterable<RouterSession>,
): Promise<boolean> {
  try {
    const question = { topic: 'hears-router', argumentJson: JSON.stringify({ routerId }) }
    const { answers } = await questions.ask(sessions, question, OPINION_MS_MAX)
    return answers.some(({ answerJson }) => answerJson === 'true')
  } catch {
    return false
  }
}
