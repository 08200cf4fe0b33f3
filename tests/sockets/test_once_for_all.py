"""A question that many ask is asked once, and no longer than somebody waits for its answer."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.edge.once_for_all import OnceForAll


class Worker:
    """Answers when the test says so. Attributes: asked: how often; ended: how often that was given up."""

    def __init__(self) -> None:
        self.asked = self.ended = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self) -> str:
        self.asked += 1
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.ended += 1
            raise


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_all_who_ask_the_same_get_one_answer() -> None:
    questions: OnceForAll[str, str] = OnceForAll()
    worker = Worker()
    readers = [asyncio.ensure_future(questions.get("a", worker.ask)) for _ in range(3)]
    await settled()
    worker.answer.set_result("yes")
    assert await asyncio.gather(*readers) == ["yes"] * 3
    assert (worker.asked, len(questions)) == (1, 0)


@pytest.mark.asyncio
async def test_who_leaves_costs_the_others_nothing_and_with_the_last_it_is_given_up() -> None:
    questions: OnceForAll[str, str] = OnceForAll()
    worker = Worker()
    first, second = (asyncio.ensure_future(questions.get("a", worker.ask)) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    assert (worker.ended, len(questions)) == (0, 1)
    second.cancel()
    await settled()
    assert (worker.ended, len(questions)) == (1, 0)


@pytest.mark.asyncio
async def test_who_asks_after_the_last_has_left_asks_anew() -> None:
    questions: OnceForAll[str, str] = OnceForAll()
    worker = Worker()
    first = asyncio.ensure_future(questions.get("a", worker.ask))
    await settled()
    first.cancel()
    second = asyncio.ensure_future(questions.get("a", worker.ask))
    await settled()
    third = asyncio.ensure_future(questions.get("a", worker.ask))
    await settled()
    worker.answer.set_result("yes")
    assert await asyncio.gather(second, third) == ["yes", "yes"]
    assert (worker.asked, worker.ended, len(questions)) == (2, 1, 0)


@pytest.mark.asyncio
async def test_what_goes_wrong_is_told_to_all_and_asked_again() -> None:
    questions: OnceForAll[str, str] = OnceForAll()
    worker = Worker()
    readers = [asyncio.ensure_future(questions.get("a", worker.ask)) for _ in range(2)]
    await settled()
    worker.answer.set_exception(ValueError("no"))
    assert [str(each) for each in await asyncio.gather(*readers, return_exceptions=True)] == ["no", "no"]
    assert len(questions) == 0
