"""The README says what the code does. `python tests/test_readme.py` writes its tables anew from the models."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from router_clevertap.choices import UserId
from router_clevertap.regions import REGIONS, host_of
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection

FILE = Path(__file__).parents[1] / "README.md"
README = FILE.read_text()
MODELS: dict[str, type[BaseModel]] = {"output": ClevertapConfiguration, "connection": ClevertapConnection}


def settings_table(model: type[BaseModel]) -> str:
    """One row for each setting: name, default, and its help with choices, limits and platforms."""
    rows = ["| Setting | Default | Meaning |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {_default(field)} | {' '.join(_meaning(field))} |" for name, field in _fields(model)]
    return "\n".join(rows)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    yield from model.model_fields.items()


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == "":
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(field: Any) -> Iterator[str]:
    yield field.description
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        unexplained = [one.value for one in field.annotation if f"`{one.value}`" not in field.description]
        if unexplained:
            yield f"One of {', '.join(f'`{value}`' for value in unexplained)}."
    limits = {type(one).__name__.lower(): one for one in field.metadata}
    if "ge" in limits and "le" in limits:
        yield f"{limits['ge'].ge} to {limits['le'].le}."
    if field.annotation is SecretStr or SecretStr in getattr(field.annotation, "__args__", ()):
        yield "A secret."
    extra = field.json_schema_extra or {}
    if extra.get("platforms"):
        yield f"Only for {', '.join(extra['platforms'])}."
    if field.examples:
        yield f"Example: `{field.examples[0]}`."


def written_anew(text: str) -> str:
    """The README with its tables as the models have them."""
    for name, model in MODELS.items():
        between = re.compile(rf"(<!-- settings of an? {name} -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)
        text, count = between.subn(lambda found, model=model: found[1] + settings_table(model) + found[2], text)  # type: ignore[misc]
        assert count == 1, name
    return text


def test_the_settings_tables_are_those_of_the_models() -> None:
    assert written_anew(README) == README, "run python tests/test_readme.py"


def test_a_setting_that_is_missing_is_noticed() -> None:
    row = next(line for line in README.splitlines() if line.startswith("| `phone_region` |"))
    assert written_anew(README.replace(row + "\n", "")) == README


@pytest.mark.parametrize("region", REGIONS)
def test_the_readme_has_each_region(region: str) -> None:
    assert re.search(rf"^\|.*`{region}`.*\| `{re.escape(host_of(region))}` \|", README, re.MULTILINE)


def test_the_readme_has_each_user_id() -> None:
    assert all(f"`{one.value}`" in README for one in UserId)


if __name__ == "__main__":
    FILE.write_text(written_anew(README))
