"""Group commit: while one round is under way the next gathers, so that many who ask at once share a statement and a commit."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
ROUND_AT_MOST: Final = 100


class Rounds(Generic[K, R]):
    """`serve(kind, names)` answers several names that ask for the same kind at once; whoever is not in its answer gets None."""

    def __init__(self, serve: Callable[[K, Sequence[str]], Awaitable[Mapping[str, R]]]) -> None:
        self._serve = serve
        self._asking: dict[K, dict[str, asyncio.Future[R | None]]] = {}
        self._running: dict[K, asyncio.Task[None]] = {}

    async def ask(self, kind: K, name: str) -> R | None:
        """The answer of a round. One name asking twice at once gets one answer. Raises what the round raised."""
        asking = self._asking.setdefault(kind, {})
        answer = asking.get(name)
        if answer is None:
            answer = asking[name] = asyncio.get_running_loop().create_future()
        if kind not in self._running:
            self._running[kind] = asyncio.create_task(self._run(kind))
        # a client who goes away must not take the answer from others, nor end the round
        return await asyncio.shield(answer)

    async def _run(self, kind: K) -> None:
        try:
            while asking := self._asking[kind]:
                names = list(asking)[:ROUND_AT_MOST]
                await self._round(kind, {name: asking.pop(name) for name in names})
        finally:
            del self._running[kind]
            if not self._asking[kind]:
                del self._asking[kind]

    async def _round(self, kind: K, answers: dict[str, asyncio.Future[R | None]]) -> None:
        try:
            found = await self._serve(kind, list(answers))
        except Exception as error:
            for answer in answers.values():
                answer.set_exception(error)
                answer.exception()  # seen, even where every client went away
            return
        for name, answer in answers.items():
            answer.set_result(found.get(name))
