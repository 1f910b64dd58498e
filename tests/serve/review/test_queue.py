"""The queue on both databases: items, locks, decisions, time-outs, searches, retention."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from reviewing import Hands, item, opened

from heatbath.errors import BadInput
from heatbath.policy.review import ReviewDecision
from heatbath.serve.interfaces import AnswerConfidence, RequestInfo, RequestOutcome
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.review.stored_review import ReviewQuery
from heatbath.serve.storage.migrate import VERSION_TABLE
from heatbath.serve.storage.schema import review_contents, reviews

APPROVE = ReviewDecision("approve", "bob", "fine")
EDIT = ReviewDecision("edit", "eve", "too long\0\ud800", "short \U0001f600")


def outcome(request: str, confidences: list[AnswerConfidence]) -> RequestOutcome:
    info = RequestInfo(request, "t", "/v1/chat/completions", "m", False, 0.0, time.time())
    return RequestOutcome(info, 200, content={"choices": []}, confidences=confidences)


def run(url: str, test: Any, **options: Any) -> None:
    async def main() -> None:
        async with opened(url, **options) as queue:
            await test(queue)

    asyncio.run(main())


def test_an_item_is_decided_once(url: str) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        given = item("ä\0", text="hello\ud800", priority=-3, confidence=0.25, calibrator="c")
        id = await queue.submit(given)
        assert await queue.submit(given) == id
        assert await queue.submit(item("ä\0", choice=1)) != id
        found = await queue.find(id, "t")
        assert found is not None and found.decision is None and found.item.text == "hello\ufffd"
        assert found.item.payload == given.payload and found.item.rules == ("rule",)
        assert await queue.find(id, "other") is None and await queue.find("rev_none") is None
        waiting = asyncio.create_task(queue.wait(id, 5.0))
        first, second = await queue.decide(id, EDIT), await queue.decide(id, APPROVE)
        assert first is not None and first.has_succeeded
        assert second is not None and not second.has_succeeded and second.review == first.review
        decision = await waiting
        assert decision == first.review.decision == await queue.wait(id, 5.0)
        assert decision == ReviewDecision("edit", "eve", "too long\ufffd\ufffd", "short \U0001f600")
        assert await queue.decide("rev_none", APPROVE) is None and await queue.lock("rev_none", "bob") is None
        assert [each.choice for each in (r.item for r in await queue.list_of_request("ä\0", "t"))] == [0, 1]

    run(url, test)


@pytest.mark.parametrize("wrong", [{"probability": 0.0}, {"probability": 1.5}, {"payload": {"object": "embedding"}}])
def test_what_cannot_be_reviewed_is_refused(wrong: dict[str, Any], tmp_path: Any) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        with pytest.raises(BadInput):
            await queue.submit(item(**wrong))

    run(f"sqlite:///{tmp_path / 'a.db'}", test)


def test_a_lock_keeps_others_away_until_it_ends(url: str) -> None:
    hands = Hands()

    async def test(queue: StoredReviewQueue) -> None:
        id = await queue.submit(item())
        for reviewer, succeeds in (("bob", True), ("eve", False), ("bob", True)):
            change = await queue.lock(id, reviewer, 60.0)
            assert change is not None and change.has_succeeded is succeeds
            assert change.review.find_holder(queue.current_time()) == "bob"
        refused = await queue.decide(id, EDIT)
        assert refused is not None and not refused.has_succeeded and refused.review.decision is None
        given_back = await queue.lock(id, "bob", 0.0)
        assert given_back is not None and given_back.has_succeeded and given_back.review.holder is None
        assert (await queue.lock(id, "eve", 60.0)).has_succeeded
        hands.run(61.0)
        assert (await queue.find(id)).find_holder(queue.current_time()) is None
        assert (await queue.decide(id, APPROVE)).has_succeeded
        late = await queue.lock(id, "eve")
        assert late is not None and not late.has_succeeded and late.review.decision == APPROVE

    run(url, test, store=hands.options)


@pytest.mark.parametrize("default", ["approve", "reject"])
def test_nobody_decides_in_time(url: str, default: Any) -> None:
    hands = Hands()

    async def test(queue: StoredReviewQueue) -> None:
        ids = [await queue.submit(item(f"r{k}")) for k in range(3)]
        assert await queue.wait(ids[0], 0.05) is None
        await queue.lock(ids[0], "bob")
        hands.run(99.0)
        hands.wall += 1e6  # a clock that is set forward ends no deadline
        assert (await queue.find(ids[0])).decision is None
        hands.run(2.0)
        late = await queue.decide(ids[0], APPROVE)
        expected = ReviewDecision(default, "timeout", "nobody decided in time")
        assert late is not None and not late.has_succeeded and late.review.decision == expected
        assert await queue.wait(ids[1], 5.0) == expected and not expected.is_by_person
        assert (await queue.summarize()).decisions == {"timeout": 3}

    run(url, test, store=hands.options, timeout_seconds=100.0, default_action=default)


def test_deadlines_pass_with_nobody_waiting(tmp_path: Any) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        async with queue.run():
            await queue.submit(item())
            await asyncio.sleep(0.1)
            until = time.monotonic() + 5.0
            while not await queue._find_decided([(await queue.list_of_request("r", "t"))[0].id]):
                assert time.monotonic() < until
                await asyncio.sleep(0.1)

    run(f"sqlite:///{tmp_path / 'a.db'}", test, timeout_seconds=0.2)


def test_searches(url: str) -> None:
    hands = Hands()

    async def test(queue: StoredReviewQueue) -> None:
        ids = {}
        for k, (rules, priority, tenant) in enumerate(
            [(("a", "b"), 1, "t"), (("b",), 5, "t"), ((), 1, "u"), (('a"b%',), 1, "u")]
        ):
            ids[k] = await queue.submit(
                item(f"r{k}", rules=rules, priority=priority, tenant=tenant, probability=1.0 if rules else 0.1)
            )
            hands.run(1.0)

        async def numbers(**query: Any) -> list[int]:
            found = await queue.list_reviews(ReviewQuery(**query))
            return [next(k for k, id in ids.items() if id == each.id) for each in found]

        assert await numbers() == [1, 0, 2, 3]
        assert await numbers(limit=2, offset=1) == [0, 2]
        assert await numbers(rule="a") == [0] and await numbers(rule="b") == [1, 0]
        assert await numbers(rule='a"b%') == [3] and await numbers(rule="%") == []
        assert await numbers(is_random=True) == [2] and await numbers(is_random=False) == [1, 0, 3]
        assert await numbers(tenant="u") == [2, 3] and await numbers(model="other") == []
        await queue.lock(ids[3], "bob")
        summary = await queue.summarize()
        assert (summary.pending, summary.locked, summary.oldest_seconds) == (4, 1, 4.0)
        for k, action in ((0, "approve"), (2, "reject")):
            await queue.decide(ids[k], ReviewDecision(action, "bob", ""))
            hands.run(1.0)
        assert await numbers(status="decided") == [2, 0] and await numbers(status="decided", action="approve") == [0]
        assert await numbers() == [1, 3] and await numbers(id=ids[3]) == [3]
        assert (await queue.summarize()).decisions == {"approve": 1, "reject": 1}

    run(url, test, store=hands.options)


def test_waiters_learn_of_the_decision_of_another_server(url: str) -> None:
    async def main() -> None:
        async with opened(url) as one, opened(url) as other:
            ids = [await one.submit(item(f"r{k}")) for k in range(20)]
            waiting = [asyncio.create_task(one.wait(id, 10.0)) for id in ids]
            await asyncio.sleep(0.05)
            for id in ids:
                await other.decide(id, APPROVE)
            decided = time.monotonic()
            assert await asyncio.gather(*waiting) == [APPROVE] * 20
            assert time.monotonic() - decided < 1.0

    asyncio.run(main())


def test_labels_meet_their_answers_in_any_order(url: str) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        store = queue._store
        measured = [AnswerConfidence(0, 0.75, "c")]
        early, late = [await queue.submit(item(name, probability=0.5)) for name in ("early", "late")]
        gated = await queue.submit(item("gated"))
        await store.save(outcome("early", measured))
        await queue.decide(early, APPROVE)
        await queue.decide(late, EDIT)
        await store.save(outcome("late", measured))
        await store.save(outcome("gated", measured))
        await queue.decide(gated, ReviewDecision("reject", "bob", ""))
        found = {id: (one.is_right, one.weight) for id, one in await store.list_confidences("c", 10)}
        assert found == {"early": (True, 0.5), "late": (False, 0.5), "gated": (False, 0.25)}
        # A client's own label has the whole stake, and replaces the reviewer's.
        await store.label_choice("gated", "t", 0, is_right=True)
        assert (await store.list_confidences("c", 1))[0][1].weight == 1.0
        confidences = {r.item.request_id: r.item.confidence for r in await queue.list_reviews(ReviewQuery("decided"))}
        assert confidences == {"early": 0.75, "late": None, "gated": 0.75}

    run(url, test, random_share=0.25)


def test_a_database_without_a_queue_gets_one(url: str) -> None:
    async def fill(queue: StoredReviewQueue) -> None:
        await queue._store.save(outcome("a", [AnswerConfidence(0, 0.75, "c")]))
        await queue._store.label_choice("a", "t", 0, is_right=True)
        with queue._store._database.engine.begin() as connection:
            for table in (review_contents, reviews):
                table.drop(connection)
            connection.exec_driver_sql("ALTER TABLE confidences DROP COLUMN weight")
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0003'")

    async def use(queue: StoredReviewQueue) -> None:
        ((_, before),) = await queue._store.list_confidences("c", 10)
        assert (before.is_right, before.weight) == (True, 1.0)
        assert (await queue.decide(await queue.submit(item("a")), EDIT)).has_succeeded
        ((_, after),) = await queue._store.list_confidences("c", 10)
        assert (after.is_right, after.weight) == (False, 0.5)

    run(url, fill)
    run(url, use, random_share=0.5)


def test_a_time_out_is_no_label(url: str) -> None:
    hands = Hands()

    async def test(queue: StoredReviewQueue) -> None:
        await queue.submit(item("a"))
        hands.run(101.0)
        await queue.expire()
        await queue._store.save(outcome("a", [AnswerConfidence(0, 0.75, "c")]))
        assert [one.is_right for _, one in await queue._store.list_confidences("c", 10)] == [None]

    run(url, test, store=hands.options, timeout_seconds=100.0)


def test_deleted_content_is_given_to_nobody(url: str) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        await queue._store.save(outcome("a", []))
        ids = [await queue.submit(item("a", choice=k)) for k in range(2)]
        await queue.decide(ids[0], EDIT)
        waiting = asyncio.create_task(queue.wait(ids[1], 5.0))
        assert await queue._store.delete_content("a", "t")
        assert await waiting == ReviewDecision("reject", "deletion", "the answer was deleted")
        first, second = await queue.list_of_request("a", "t")
        assert not first.has_content and not second.has_content and first.item.text == "" and first.item.payload == {}
        assert first.decision is not None and (first.decision.action, first.decision.text) == ("edit", None)

    run(url, test)


def test_content_goes_and_decisions_of_people_stay(url: str) -> None:
    hands = Hands()

    async def test(queue: StoredReviewQueue) -> None:
        ids = {
            name: await queue.submit(item(name, keep_content=name != "unkept")) for name in ("kept", "unkept", "none")
        }
        for name in ("kept", "unkept"):
            await queue.decide(ids[name], APPROVE)
        cleanups = queue._store._writer

        def clean(seconds: float) -> None:
            for _ in range(3):
                hands.run(seconds / 3)
                with queue._store._database.engine.begin() as connection:
                    cleanups._delete_before_horizon(connection)

        clean(3000.0)
        assert all([(await queue.find(id)).has_content for id in ids.values()])
        clean(1000.0)
        assert [(await queue.find(id)).has_content for id in ids.values()] == [True, False, True]
        await queue.expire()
        clean(86_400.0 * 2)
        kept, gone = await queue.find(ids["kept"]), await queue.find(ids["none"])
        assert gone is None and kept is not None and not kept.has_content
        assert kept.decision == APPROVE

    run(url, test, store={**hands.options, "days": 1.0}, timeout_seconds=3900.0)


def test_the_share_of_passing_answers(tmp_path: Any) -> None:
    async def test(queue: StoredReviewQueue) -> None:
        drawn = sum(queue.draw_passing() for _ in range(4000))
        # 4 standard deviations: 6e-5.
        assert abs(drawn - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5

    run(f"sqlite:///{tmp_path / 'a.db'}", test, random_share=0.25)
