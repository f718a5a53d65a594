"""What plugins remember: durable, and apart from each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router_core.errors import LogDamaged
from router_core.store import StateFile


async def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    first = StateFile(tmp_path / "state.db")
    await first.namespace("source", "file").put({"a": b"1", "b": b"\0\xff"})
    first.close()
    second = StateFile(tmp_path / "state.db")
    store = second.namespace("source", "file")
    assert [await store.get(key) for key in ("a", "b", "c")] == [b"1", b"\0\xff", None]
    second.close()


async def test_namespaces_do_not_see_each_other(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    one, two = state.namespace("transform", "a"), state.namespace("transform", "b")
    await one.put({"key": b"one"})
    await two.put({"key": b"two"})
    await one.delete(["key"])
    assert (await one.get("key"), await two.get("key")) == (None, b"two")
    state.close()


async def test_a_value_is_replaced_and_unknown_keys_are_deleted_without_harm(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    store = state.namespace("a")
    await store.put({"key": b"1"})
    await store.put({"key": b"2", "other": b""})
    await store.put({})
    await store.delete(["unknown"])
    await store.delete([])
    assert (await store.get("key"), await store.get("other")) == (b"2", b"")
    state.close()


async def test_items_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    store = state.namespace("a")
    broken: dict[str, bytes] = {"good": b"1", "bad": None}  # type: ignore[dict-item]  # what a careless plugin does
    with pytest.raises(Exception, match="NOT NULL"):
        await store.put(broken)
    assert await store.get("good") is None
    await store.put({"good": b"2"})
    assert await store.get("good") == b"2"
    state.close()


async def test_writes_at_once_wait_for_each_other(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    stores = [state.namespace("a", str(number)) for number in range(20)]
    await asyncio.gather(*(store.put({"key": b"%d" % number}) for number, store in enumerate(stores)))
    assert [await store.get("key") for store in stores] == [b"%d" % number for number in range(20)]
    state.close()


def test_nothing_is_made_until_somebody_asks(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.db")
    state.namespace("a")
    state.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_broken_file_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database " * 500)
    with pytest.raises(LogDamaged, match="Move it away: plugins then start without memory"):
        await StateFile(tmp_path / "state.db").namespace("a").get("key")
