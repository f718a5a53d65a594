"""`router send` against a running router."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Invoke
from .daemon import Daemon, free_port, router

DATA = Path(__file__).parents[1] / "data"
GOOD = b'{"user_identities":{"customer_id":"c1"},"events":[{"event_type":"custom_event","data":{"event_name":"A"}}]}'
BAD = b'{"events":[{"event_type":"custom_event","data":{}}]}'


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    """Two good batches and a bad one, a line each."""
    path = tmp_path / "batches.ndjson"
    path.write_bytes(b"\n".join([GOOD, BAD, GOOD]) + b"\n")
    return path


def test_batches_are_posted_with_what_the_configuration_says(daemon: Daemon) -> None:
    done = router("send", "-", "-c", daemon.config, "--input", "shop", stdin=GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 batch accepted in ")


def test_the_only_input_needs_no_name_and_the_command_line_goes_first(daemon: Daemon) -> None:
    done = router("send", "-", "-c", daemon.config, "--secret", "other", stdin=GOOD)
    assert done.returncode == 1
    assert "refused: 403 FORBIDDEN: No input has this key and secret. (1 batch)" in done.stderr


def test_address_and_credentials_can_be_given_by_hand(daemon: Daemon) -> None:
    url = f"http://127.0.0.1:{daemon.port}"
    done = router("send", "-", "--url", url, "--key", "demo", "--secret", "shop-secret", stdin=GOOD)
    assert done.returncode == 0
    done = router("send", "-", "--url", url, "--key", "demo", stdin=GOOD, env={"ROUTER_SEND_SECRET": "shop-secret"})
    assert done.returncode == 0


def test_a_refused_batch_is_counted_with_its_reason(daemon: Daemon, batches: Path) -> None:
    done = router("send", batches, "-c", daemon.config)
    assert done.returncode == 1
    assert done.stdout.startswith("2 batches accepted in ")
    assert "1 batch refused" in done.stdout
    assert 'refused: 400 BAD_REQUEST: Required event field "event_name" is missing or empty.' in done.stderr


def test_json_has_the_counts(daemon: Daemon, batches: Path) -> None:
    done = router("send", batches, "-c", daemon.config, "--json", "--repeat", "3", "--concurrency", "2")
    counts = json.loads(done.stdout)
    assert (counts["accepted"], counts["refused"], counts["requests"], done.stderr) == (6, 3, 9, "")
    assert list(counts["reasons"].values()) == [3]


def test_bulk_requests_take_many_at_once(daemon: Daemon) -> None:
    done = router(
        "send", "-", "-c", daemon.config, "--repeat", "25", "--bulk", "10", "--json", stdin=GOOD + b"\n" + GOOD
    )
    counts = json.loads(done.stdout)
    assert (counts["accepted"], counts["requests"]) == (50, 5)


@pytest.mark.parametrize("name", ["bulk_two_batches", "commerce_purchase", "attributes_only_no_events"])
def test_recorded_requests_are_posted_as_they_were(daemon: Daemon, name: str) -> None:
    done = router("send", DATA / "mparticle-python" / f"{name}.json", "-c", daemon.config)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_secret_ends_the_sending(daemon: Daemon, batches: Path) -> None:
    done = router("send", batches, "-c", daemon.config, "--secret", "other")
    assert done.returncode == 1
    assert "refused: 2 batches not sent: none would be accepted" in done.stderr


def test_a_router_that_does_not_run_is_a_sentence() -> None:
    done = router("send", "-", "--url", f"http://127.0.0.1:{free_port()}", "--key", "k", "--secret", "s", stdin=GOOD)
    assert done.returncode == 1
    assert "error: nobody answers at http://127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-", "--input", "shop"], "it needs -c FILE too."),
        (["-", "--url", "ftp://x"], "it must look like http://127.0.0.1:8080."),
        (["-", "--url", "http://k:s@x"], "it must look like http://127.0.0.1:8080."),
        (["-", "--url", "http://[::1"], "it must look like http://127.0.0.1:8080."),
        (["/no/such.json"], "cannot read /no/such.json"),
        (["-"], "standard input holds no batch"),
        (["-", "--bulk", "-1"], "--bulk"),
        (["-", "--concurrency", "0"], "--concurrency"),
        (["-", "--repeat", "no"], "--repeat"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_told(invoke: Invoke, arguments: list[str], text: str) -> None:
    result = invoke("send", *arguments, input="")
    assert result.exit_code == 2
    assert text in result.stderr


@pytest.mark.parametrize(
    ("name", "text"), [("shp", "no input is named 'shp'. Did you mean 'shop'?"), (None, "say which input: shop, web")]
)
def test_an_input_must_be_named_rightly(invoke: Invoke, config: Path, name: str | None, text: str) -> None:
    result = invoke("send", "-", "-c", config, *(["--input", name] if name else []), input="{}")
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_port_that_the_system_chose_must_be_given(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("listen: {port: 1}", "listen: {port: 0}"))
    result = invoke("send", "-", "-c", config, "--input", "shop", input="{}")
    assert result.exit_code == 2
    assert "`listen.port` is 0" in result.stderr
