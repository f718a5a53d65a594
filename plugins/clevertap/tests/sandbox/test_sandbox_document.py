"""docs/clevertap-sandbox.md names what there is, and nothing else."""

import re
from pathlib import Path

import pytest
from router_clevertap.sandbox import Fault, SandboxSettings, rules
from router_clevertap.sandbox.api import ROUTES
from router_clevertap.sandbox.command import app
from router_clevertap.sandbox.control import control_routes
from router_clevertap.sandbox.damage import CATALOGUE
from router_clevertap.sandbox.state import DAMAGE_KEPT, REFUSALS_KEPT, Sandbox
from typer.main import get_command

TEXT = (Path(__file__).parents[4] / "docs" / "clevertap-sandbox.md").read_text()


def first_cells(heading: str) -> set[str]:
    """The words in backticks of the first cells of a section's tables."""
    section = re.split(r"^#+ ", TEXT.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_option_of_the_command() -> None:
    options = {option for parameter in get_command(app).params for option in parameter.opts}
    assert first_cells("Run it") == options


def test_every_route() -> None:
    own = {
        f"{method} {route.path}"
        for route in control_routes(Sandbox(SandboxSettings()))
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert first_cells("Routes of its own") == own
    assert first_cells("1 Calls") == {f"{method} {path}" for path, (method, _, _) in ROUTES.items()}


def test_every_field_of_a_fault() -> None:
    assert first_cells("Faults on order") == Fault.model_fields.keys()


def test_every_damage_and_no_other() -> None:
    tables = re.findall(r"^\| Damage \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert {code for table in tables for code in re.findall(r"^\| `([a-z_]+)` ", table, re.MULTILINE)} == set(CATALOGUE)


@pytest.mark.parametrize(
    "stated",
    [
        f"{rules.MAX_RECORDS_PER_CALL} records, of them {rules.MAX_TOKENS_PER_CALL} device tokens",
        f"{rules.UPLOADS_AT_ONCE} calls of an account at once",
        f"{rules.OTHER_CALLS_AT_ONCE} at once",
        f"{rules.MAX_IDS_PER_DELETE} of each",
        f"More than {rules.MAX_BODY_BYTES >> 20} MB",
        f"more than {rules.MAX_ID_CHARS} characters",
        f"More than {rules.MAX_EVENT_NAME_CHARS} characters",
        f"More than {rules.MAX_KEY_BYTES} bytes",
        f"more than {rules.MAX_VALUE_BYTES} bytes",
        f"more than {rules.MAX_EVENT_PROPERTIES}\nproperties",
        f"holds {rules.MAX_PROFILE_PROPERTIES} custom keys",
        f"holds {rules.MAX_EVENT_NAMES} names",
        f"More than {rules.MAX_LIST_ITEMS} items",
        f"More than {rules.MAX_CHARGED_ITEMS}. SDKs",
        f"The last {REFUSALS_KEPT} refusals",
        f"The last {DAMAGE_KEPT} faults",
    ],
)
def test_limits_are_those_of_the_code(stated: str) -> None:
    assert stated in TEXT


def test_switches_are_those_of_the_code() -> None:
    assert [switch for switch in rules.SWITCHES if f"`{switch}`" not in TEXT] == []
