"""The file of erasures: what it keeps, and that it forgets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_core.components import Subject
from router_core.erasure import AtConnection, Conflict, Person, State, Status, folded, subject_of
from router_core.erasurefile import ErasureFile, opened
from router_core.events import UserIdentity

from .people import ID, ask, erasure_of

OTHER = "22222222-2222-4222-8222-222222222222"


def test_a_request_goes_its_way_and_its_person_is_forgotten_in_the_end(tmp_path: Path) -> None:
    made = ask(
        tmp_path, ("customerid", "c-1"), ("customer_id", "c-1"), ("other2", "x"), regulation="ccpa", group_id="g"
    )
    assert (made.status, made.regulation, made.group_id, made.collected) == (Status.PENDING, "ccpa", "g", False)
    assert made.person is not None
    assert made.person.requested == {"customer_id": ["c-1"], "other_id_2": ["x"]}
    with opened(tmp_path) as file:
        file.start([made.number])
        file.collected(made, {"email": ["a@b.c"]})
        file.wiped({made.number: 7})
        file.at_connection(made.number, "main", AtConnection(State.SENT, "", 2))
        (under_way,) = file.unfinished()
        assert under_way.person is not None
        assert (under_way.status, under_way.person.found) == (Status.IN_PROGRESS, {"email": ["a@b.c"]})
        assert (under_way.collected, under_way.wiped, under_way.batches) == (True, True, 7)
        file.complete([made.number])
        assert file.unfinished() == []
    done = erasure_of(tmp_path)
    assert (done.status, done.person, done.batches) == (Status.COMPLETED, None, 7)
    assert done.connections == {"main": AtConnection(State.SENT, "", 2)}
    assert done.completed_at_ms is not None


def test_one_request_for_the_same_person_at_a_time(tmp_path: Path) -> None:
    ask(tmp_path, ("email", "A@b.c"))
    with pytest.raises(Conflict, match=f"there is a request {ID} already"):
        ask(tmp_path, ("email", "z@b.c"))
    with pytest.raises(Conflict) as raised:
        ask(tmp_path, ("email", " a@B.c"), id=OTHER)
    assert raised.value.id == ID
    assert "b.c" not in str(raised.value).lower()
    ask(tmp_path, ("email", "a@b.c"), ("customer_id", "1"), id=OTHER)


def test_only_a_pending_request_can_be_cancelled(tmp_path: Path) -> None:
    made = ask(tmp_path, ("email", "a@b.c"))
    with opened(tmp_path) as file:
        with pytest.raises(KeyError):
            file.cancel(OTHER)
        assert file.cancel(ID).status is Status.CANCELLED
        with pytest.raises(Conflict, match="is cancelled and cannot"):
            file.cancel(ID)
    again = ask(tmp_path, ("email", "a@b.c"), id=OTHER)
    assert again.number > made.number
    with opened(tmp_path) as file:
        file.start([again.number])
        with pytest.raises(Conflict, match="is in_progress and cannot"):
            file.cancel(OTHER)


def test_one_id_lifts_all_that_were_erased_together(tmp_path: Path) -> None:
    made = ask(tmp_path, ("customer_id", "c-1"))
    with opened(tmp_path) as file:
        file.collected(made, {"email": ["a@b.c"]})
        with pytest.raises(Conflict, match="is not complete yet"):
            file.allow_again({"email": ["a@b.c"]})
        file.complete([made.number])
        assert file.allow_again({"email": ["other@b.c"]}) == 0
        assert file.allow_again({"email": ["A@B.c"]}) == 1
        assert file.allow_again({"customer_id": ["c-1"]}) == 0


def test_a_subject_has_what_was_asked_for_first_and_its_text_names_nobody() -> None:
    person = Person(
        {"email": ["A@b.c"], "mpid": ["17"]},
        {"email": ["a@b.c", "A@b.c"], "ios_idfv": ["V"], "mp_deviceid": ["D"], "integration:135:k": ["__g"],
         "integration:x:k": ["y"]},
    )  # fmt: skip
    subject = subject_of(person)
    assert subject == Subject(
        user_identities={UserIdentity.EMAIL: ("A@b.c", "a@b.c")},
        device_identities={"ios_idfv": ("V",)},
        mpids=("17",),
        device_stamps=("D",),
        integration_attributes={135: {"k": ("__g",)}},
    )
    assert not [value for value in ("b.c", "17", "__g", "V", "D'") if value in repr(subject) + repr(person)]


def test_a_type_that_nobody_knows_is_an_error_without_the_value() -> None:
    with pytest.raises(ValueError, match="no identity is named 'shoe'") as raised:
        folded([("shoe", "secret")])
    assert "secret" not in str(raised.value)


def test_two_salts_give_two_hashes(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        assert one.salt != other.salt
    with opened(tmp_path / "a") as again:
        assert again.salt == one.salt


NAMES = st.text("abcdefgh", min_size=24, max_size=400)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=30)), min_size=1, max_size=12),
       order=st.randoms(use_true_random=False))  # fmt: skip
def test_no_byte_of_a_completed_or_cancelled_person_stays_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, people: list[tuple[str, list[str]]], order: object
) -> None:
    folder = tmp_path_factory.mktemp("data")
    file, onlooker = ErasureFile(folder), ErasureFile(folder)
    for number, (name, others) in enumerate(people):
        made = file.add(f"{number:08d}-1111-4111-8111-111111111111", {"other": [f"{number}-{name}"]}, source="command")
        if others:
            file.collected(made, {"email": [f"{number}-{other}" for other in others]})
    left = file.unfinished()
    order.shuffle(left)  # type: ignore[attr-defined]
    for erasure in left:
        if order.random() < 0.3:  # type: ignore[attr-defined]
            onlooker.cancel(erasure.id)
        else:
            file.complete([erasure.number])
        content = b"".join(path.read_bytes() for path in folder.iterdir())
        place = erasure.number - 1
        name, others = people[place]
        assert not [value for value in (name, *others) if f"{place}-{value}".encode() in content]
    file.close()
    onlooker.close()
