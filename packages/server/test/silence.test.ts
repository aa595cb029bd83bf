import t from 'tap'
import { Silence } from '../src/control/silence.ts'

const rows = (...heard: readonly number[]) => [1, 2, 3].map(id => ({ id, isRecentlyActive: heard.includes(id) }))

t.test('a member is silent since it was heard last, by the leader that counts', async test => {
  const silence = new Silence()
  silence.begin(100)
  test.equal(silence.ofMember(2, 500), 0, 'nothing is known of it')
  silence.note(100, rows(1, 2))
  test.equal(silence.ofMember(3, 400), 300, 'never heard: since this leader began')
  silence.note(400, rows(1, 3))
  test.equal(silence.ofMember(3, 400), 0)
  test.equal(silence.ofMember(2, 1_000), 900)
  silence.begin(2_000)
  silence.note(2_000, rows(1))
  test.equal(silence.ofMember(2, 2_050), 50, 'what an earlier reign heard does not count')
  silence.note(3_000, [{ id: 1, isRecentlyActive: true }])
  test.equal(silence.ofMember(2, 4_000), 0, 'it is none any more')
})
