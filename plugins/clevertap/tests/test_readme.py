"""The README says what the code does."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from router_clevertap.names import RESTRICTED_EVENT_NAMES
from router_clevertap.regions import REGIONS, host_of
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection, UserId

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("model", [ClevertapConfiguration, ClevertapConnection])
def test_the_readme_has_each_setting_with_its_default(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)
        assert row, f"{name} is missing"
        default = "required" if field.is_required() else f"`{_text(field.default)}`" if field.default else "empty"
        assert row[1] == default, name


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("region", REGIONS)
def test_the_readme_has_each_region(region: str) -> None:
    assert re.search(rf"^\|.*`{region}`.*\| `{re.escape(host_of(region))}` \|", README, re.MULTILINE)


@pytest.mark.parametrize("name", RESTRICTED_EVENT_NAMES)
def test_the_readme_has_each_restricted_name(name: str) -> None:
    assert name in README


def test_the_readme_has_each_user_id() -> None:
    assert all(f"`{one.value}`" in README for one in UserId if not one.value.startswith("other_id_"))
