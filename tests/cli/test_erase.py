"""`router erase`, `router erasures`, `router allow-again`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router_core.erasure import AtConnection, State
from router_core.erasurefile import opened

from .conftest import Invoke


@pytest.fixture
def data(config: Path) -> Path:
    """A data folder that a router has used."""
    folder = config.parent / "data"
    folder.mkdir()
    (folder / "lock").touch()
    return folder


def test_it_says_what_will_happen_and_stores_the_request(invoke: Invoke, config: Path, data: Path) -> None:
    done = invoke("erase", "--yes", "customerid=c-1", "email=a@b.c", "-c", config)
    assert done.exit_code == 0, done.stderr
    assert "shop_to_file" in done.stdout.partition("Not reached")[2]
    assert "No router is running" in done.stdout
    assert "a@b.c" not in done.stdout
    with opened(data) as file:
        (made,) = file.unfinished()
    assert made.person is not None
    assert made.person.requested == {"customer_id": ["c-1"], "email": ["a@b.c"]}
    again = invoke("erase", "--yes", "customer_id=c-1", "email=A@b.c", "-c", config)
    assert again.exit_code == 0
    assert f"Erasure {made.id} of the same identities is under way already" in again.stdout


def test_json_names_the_request_and_nobody(invoke: Invoke, config: Path, data: Path) -> None:
    done = invoke("erase", "--yes", "customer_id=c-1", "--regulation", "ccpa", "--json", "-c", config)
    told = json.loads(done.stdout)
    assert (told["status"], told["regulation"], told["running"], told["connections"]) == ("pending", "ccpa", False, {})
    assert "c-1" not in done.stdout


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("custmer_id=c-1", "Did you mean 'customer_id'?"),
        ("c-1-secret", "identity 1 has no `=`"),
        ("email=  ", "email has a value that names nobody"),
        ("mpid=0", "mpid has a value that names nobody"),
    ],
)
def test_a_wrong_identity_is_named_without_its_value(
    invoke: Invoke, config: Path, data: Path, word: str, said: str
) -> None:
    for command in ("erase", "allow-again"):
        done = invoke(command, word, "-c", config)
        assert done.exit_code == 2
        assert said in done.stderr
        assert "c-1" not in done.stderr
    assert not (data / "erasures.db").exists()


def test_waiting_without_a_router_ends_with_a_sentence(invoke: Invoke, config: Path, data: Path) -> None:
    done = invoke("erase", "--yes", "customer_id=c-1", "--wait", "-c", config)
    assert done.exit_code == 1
    assert "is stored, but no router is running" in done.stderr


def test_a_folder_that_no_router_has_used_is_left_alone(invoke: Invoke, config: Path) -> None:
    done = invoke("erase", "--yes", "customer_id=c-1", "-c", config)
    assert done.exit_code == 1
    assert "no router has run with the data folder" in done.stderr
    assert not (config.parent / "data").exists()


def test_the_list_shows_states_and_nobody(invoke: Invoke, config: Path, data: Path) -> None:
    assert invoke("erasures", "-c", config).stdout == "no erasures\n"
    invoke("erase", "--yes", "customer_id=c-1", "-c", config)
    with opened(data) as file:
        (made,) = file.unfinished()
        file.start([made.number])
        file.wiped({made.number: 1234})
        file.at_connection(made.number, "shop_to_partner", AtConnection(State.FAILED, "refused: x", 3))
    shown = invoke("erasures", "-c", config).stdout
    for part in (made.id, "in_progress", "1,234", "shop_to_partner: failed (refused: x)"):
        assert part in shown
    assert "c-1" not in shown
    (entry,) = json.loads(invoke("erasures", "--json", "-c", config).stdout)
    assert entry["connections"] == {"shop_to_partner": {"state": "failed", "detail": "refused: x", "tries": 3}}


def test_allowing_again_waits_for_the_end_and_then_lifts(invoke: Invoke, config: Path, data: Path) -> None:
    assert "Nobody" in invoke("allow-again", "customer_id=c-1", "-c", config).stdout
    invoke("erase", "--yes", "customer_id=c-1", "-c", config)
    early = invoke("allow-again", "customer_id=c-1", "-c", config)
    assert early.exit_code == 1
    assert "is not complete yet" in early.stderr
    with opened(data) as file:
        file.complete([made.number for made in file.unfinished()])
    assert json.loads(invoke("allow-again", "customer_id=c-1", "--json", "-c", config).stdout) == {"lifted": 1}
    assert "Nobody" in invoke("allow-again", "customer_id=c-1", "-c", config).stdout
