"""Ids that something holds for: durable, as hashes, with those used last in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from router_core.components import KeyValueStore

_MOST_REMEMBERED: Final = 100_000


class Marks:
    """Marks on ids. `recall` before asking, `flush` after marking."""

    def __init__(self, name: str, store: KeyValueStore | None = None) -> None:
        self._name = name
        self._store = store
        self._known: OrderedDict[str, bool] = OrderedDict()
        self._unwritten: dict[str, bool] = {}

    def __contains__(self, id: str) -> bool:
        """Whether the id is marked, as far as memory tells."""
        return self._known.get(id, False)

    def mark(self, id: str, *, marked: bool = True) -> None:
        """Mark the id, or take its mark away."""
        if self._known.get(id, False) is not marked:
            self._remember(id, marked)
            self._unwritten[id] = marked

    async def recall(self, ids: Iterable[str]) -> None:
        """Bring into memory what is known of these ids."""
        for id in ids:
            if id in self._known:
                self._known.move_to_end(id)
            elif self._store is not None:
                self._remember(id, await self._store.get(self._key(id)) is not None)

    async def flush(self) -> None:
        """Write down what was marked since; durable on return. After an error, the next call tries again."""
        changed, self._unwritten = self._unwritten, {}
        if not changed or self._store is None:
            return
        try:
            await self._store.put({self._key(id): b"1" for id, marked in changed.items() if marked})
            await self._store.delete([self._key(id) for id, marked in changed.items() if not marked])
        except BaseException:
            self._unwritten = changed | self._unwritten
            raise

    def _remember(self, id: str, marked: bool) -> None:
        self._known[id] = marked
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    def _key(self, id: str) -> str:
        return f"{self._name}/{sha256(id.encode()).hexdigest()}"
