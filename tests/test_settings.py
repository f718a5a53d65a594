"""The models: units, defaults, masking, and that every field describes itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from router_core import settings
from router_core.settings import InputSettings, LogSettings, OutputSettings, RouterSettings
from router_core.values import Duration, Section, Size

SECTIONS = [model for model in vars(settings).values() if isinstance(model, type) and issubclass(model, Section)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("30s", 30),
        ("15m", 900),
        ("24h", 86400),
        ("7d", 604800),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("0s", 0),
        ("PT24H", 86400),
        ("P7D", 604800),
        (timedelta(seconds=3), 3),
    ],
)
def test_a_duration_is_text_with_a_unit(text: Any, seconds: float) -> None:
    assert TypeAdapter(Duration).validate_python(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["300", 300, 3.5, True, "", "5 weeks", "-5s", "h", None, "Pfoo", "99999999999999d"])
def test_a_duration_without_a_unit_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError, match="duration"):
        TypeAdapter(Duration).validate_python(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GiB", 10 * 2**30),
        ("64 MiB", 64 * 2**20),
        ("10GB", 10**10),
        ("1.5KiB", 1536),
        ("500", 500),
        (500, 500),
        ("7b", 7),
    ],
)
def test_a_size_is_a_number_of_bytes_or_text_with_a_unit(text: Any, size: int) -> None:
    assert TypeAdapter(Size).validate_python(text) == size


@pytest.mark.parametrize("text", ["ten", "10 XB", "10iB", "", None, True, 1.5, "-1"])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError, match="size"):
        TypeAdapter(Size).validate_python(text)


def test_the_defaults_are_those_of_the_documentation() -> None:
    router = RouterSettings()
    assert (router.listen.host, router.listen.port, router.admin.port) == ("127.0.0.1", 8080, 8081)
    assert (router.log.engine, router.log.path, router.log.max_bytes) == ("embedded", Path("data"), 10 * 2**30)
    assert (router.log.retention, router.log.deduplicate_for) == (timedelta(hours=24), timedelta(hours=24))
    assert router.log.segment_bytes == 16 * 2**20
    assert router.delivery.linger == timedelta(milliseconds=200)
    assert router.delivery.give_up_after == timedelta(hours=72)
    assert router.delivery.back_off_maximum == timedelta(seconds=300)
    assert (router.telemetry.log_format, router.telemetry.log_level) == ("auto", "info")


def test_the_environment_is_not_read_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN", '{"port": 1}')
    monkeypatch.setenv("LOG", "not json")
    assert RouterSettings().listen.port == 8080


def test_neither_repr_nor_dump_shows_settings_or_secrets() -> None:
    entry = InputSettings.model_validate(
        {"source": "a", "platform": "web", "key": "k-canary", "secret": "s-canary", "settings": {"x": "p-canary"}}
    )
    output = OutputSettings.model_validate({"destination": "d", "settings": {"y": "p-canary"}})
    router = RouterSettings(inputs={"a": entry}, outputs={"b": output})
    for text in (repr(entry), repr(router), str(router), router.model_dump_json(exclude={"inputs": {"a": {"key"}}})):
        assert "canary" not in text
    assert isinstance(router.model_dump()["inputs"]["a"]["secret"], SecretStr)
    assert router.outputs["b"].settings.get_secret_value() == {"y": "p-canary"}


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not be empty"):
        InputSettings(source="a", platform="web", secret="")  # type: ignore[arg-type]


def test_settings_are_frozen_and_know_no_extra_names() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        LogSettings().engine = "memory"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        LogSettings.model_validate({"engin": "memory"})


@pytest.mark.parametrize("model", [*SECTIONS, RouterSettings], ids=lambda model: model.__name__)
def test_every_field_has_a_title_and_a_help(model: type[BaseModel]) -> None:
    assert all(field.title and field.description for field in model.model_fields.values())
