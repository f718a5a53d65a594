"""Reading the file: YAML 1.2, lines, refusals that quote nothing, and references."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pluggy
import pytest

from router_core.configfile import read_config_file
from router_core.configtree import Node, Origin
from router_core.draft import Draft
from router_core.errors import ConfigurationError, Problem
from router_core.plugins import Plugins
from router_core.references import resolve_references

CANARY = "S3cr3t-Canary"


def read(tmp_path: Path, text: str) -> tuple[Node, list[Problem]]:
    file = tmp_path / "router.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config_file(file)


def resolve(tmp_path: Path, text: str, **environ: str) -> tuple[Node, list[Problem]]:
    root, problems = read(tmp_path, text)
    draft = Draft(root, Plugins(pluggy.PluginManager("router"), []))
    return root, problems + resolve_references(draft, tmp_path, environ)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("9" * 5000, "9" * 5000),
        ("[a, 1]", ["a", 1]),
        ("{b: {c: no}}", {"b": {"c": "no"}}),
        ("|\n  x\n  y\n", "x\ny\n"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(tmp_path: Path, text: str, value: Any) -> None:
    root, problems = read(tmp_path, f"a: {text}")
    assert root.plain() == {"a": value}
    assert problems == []


def test_an_old_version_directive_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "%YAML 1.1\n---\nno: off")[0].plain() == {"no": "off"}


def test_each_value_knows_the_line_of_its_key(tmp_path: Path) -> None:
    root, _ = read(tmp_path, "a:\n  b:\n    - x\n    - y: 1\n  c: >\n    long\n    text\nd: 5\n")
    lines = {path: node.place.line for path, node in root.walk()}
    assert lines[("a", "b")] == 2
    assert lines[("a", "b", 1, "y")] == 4
    assert lines[("a", "c")] == 5
    assert lines[("d",)] == 8
    assert str(root.nearest(("a", "c", "deeper")).place) == f"{tmp_path}/router.yaml:5"


def test_aliases_are_copied(tmp_path: Path) -> None:
    root, problems = read(tmp_path, "a: &x {b: 1}\nc: *x\n")
    assert problems == []
    assert root.plain() == {"a": {"b": 1}, "c": {"b": 1}}
    assert root.at(("a",)) is not root.at(("c",))


@pytest.mark.parametrize(
    ("text", "line", "what", "mend"),
    [
        ("", None, "is empty", "inputs"),
        ("# only a comment\n", None, "is empty", "inputs"),
        ("---\n", None, "is empty", "inputs"),
        ("- a\n", 1, "mapping of names", "inputs:"),
        (CANARY, 1, "mapping of names", "inputs:"),
        (f"a: 1\nb: [{CANARY}\n", 2, "not closed", "Close it"),
        (f'a: 1\nb: "{CANARY}\n', 2, "not closed", "Close it"),
        (f"a: 1\nb: @{CANARY}\n", 2, "cannot start", "quotes"),
        (f"a: 1\nb: %{CANARY}\n", 2, "cannot start", "quotes"),
        (f"a: x: {CANARY}\n", 1, "second `: `", "quotes"),
        (f'a: "\\q{CANARY}"\n', 1, "unknown escape", "single quotes"),
        (f"a:\n\t{CANARY}: 1\n", 2, "tab", "spaces"),
        (f"a: 1\nb: !e!{CANARY} 2\n", 2, "tags", "quotes"),
        (f"a: 1\nb\x07: {CANARY}\n", 2, "control character", "Remove"),
        (f"a:\n  b: 1\n {CANARY}: 2\n", 3, "not valid YAML", "indentation"),
        ("a: " + "[" * 60 + "]" * 60, 1, "nested", "smaller"),
        ("a: " + "[" * 5000 + "]" * 5000, None, "", ""),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n"
         + "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefgh")),
         5, "more than 20000 values", "smaller"),
    ],
)  # fmt: skip
def test_a_file_without_a_tree_is_refused_in_one_problem(
    tmp_path: Path, text: str, line: int | None, what: str, mend: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(tmp_path, text)
    (problem,) = raised.value.problems
    if what:
        assert problem.where == f"{tmp_path}/router.yaml" + (f":{line}" if line else "")
    assert what in problem.what
    assert mend in problem.mend
    assert CANARY not in str(raised.value)


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: käse".encode("latin-1"))
    for name, where, what in [
        ("nowhere.yaml", "nowhere.yaml", "no such file"),
        ("", "", "is a folder"),
        ("latin.yaml", "latin.yaml:2", "not UTF-8"),
    ]:
        with pytest.raises(ConfigurationError) as raised:
            read_config_file(tmp_path / name)
        (problem,) = raised.value.problems
        assert problem.where == str(tmp_path / where)
        assert what in problem.what
        assert problem.mend


@pytest.mark.parametrize(
    ("text", "line", "what", "mend"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the name 'a' stands twice; first at {file}:1", "Remove one"),
        ("a:\n  no: 1\n  no: 2\n", 3, "the name 'no' stands twice; first at {file}:2", "Remove one"),
        (f"a: {{x:{CANARY}, x:{CANARY}}}", 1, "the name stands twice", "Remove one"),
        (f"a: 1\nb: !{CANARY}", 2, "tags", "quotes"),
        ("b: !!python/object:os.system x", 1, "tags", "quotes"),
        (f"b: *{CANARY}", 1, "alias", "quotes"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys", "Write the settings out"),
        (f"a: {{{{{CANARY}}}}}\n", 1, "plain text", "quotes"),
        ("a: 1\n---\nb: 2\n", 2, "second document", "one document"),
    ],
)
def test_what_does_not_stop_the_reading_is_a_problem_with_its_line(
    tmp_path: Path, text: str, line: int, what: str, mend: str
) -> None:
    _, problems = read(tmp_path, text)
    (problem,) = problems
    assert problem.where == f"{tmp_path}/router.yaml:{line}"
    assert what.format(file=f"{tmp_path}/router.yaml") in problem.what
    assert mend in problem.mend
    assert CANARY not in str(problem)


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:NAME}", CANARY),
        ("a-${env:NAME}-b-${env:NAME}", f"a-{CANARY}-b-{CANARY}"),
        ("${env:MISSING:-x:-y}", "x:-y"),
        ("${env:MISSING:-}", ""),
        ("${env:EMPTY:-x}", ""),
        ("${file:secret.txt}", CANARY),
        ("${file:{folder}/secret.txt}", CANARY),
        ("$${env:NAME}", "${env:NAME}"),
        ("$$${env:NAME}", "$${env:NAME}"),
        ("${env:NESTED}", "${env:NAME}"),
        ("cost: $5 {x}", "cost: $5 {x}"),
    ],
)
def test_references_are_resolved_once(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / "secret.txt").write_text(f"{CANARY}\n", encoding="utf-8")
    text = text.replace("{folder}", str(tmp_path))
    root, problems = resolve(tmp_path, f"log: {{path: '{text}'}}", NAME=CANARY, EMPTY="", NESTED="${env:NAME}")
    assert problems == []
    assert root.text("log", "path") == value
    node = root.at(("log", "path"))
    assert node is not None
    assert (node.origin is Origin.REFERENCE) == ("${env" in text.replace("$${", "") or "${file" in text)


@pytest.mark.parametrize(
    ("content", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\nb\n", "a\nb"), ("", "")]
)
def test_one_newline_at_the_end_of_a_file_is_taken_off(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "s").write_bytes(content.encode())
    assert resolve(tmp_path, "log: {path: '${file:s}'}")[0].text("log", "path") == value


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("${env:MISSING}", "environment variable MISSING is not set", "${env:MISSING:-default}"),
        ("${file:nowhere}", "nowhere cannot be read: No such file or directory", "Check path"),
        ("${file:.}", "cannot be read: Is a directory", "Check path"),
        ("${file:bytes}", "not UTF-8", "UTF-8"),
        (f"${{{CANARY}}}", "no reference that the router knows", "Write ${env:NAME}"),
        (f"${{ENV:{CANARY}}}", "no reference that the router knows", "`$${`"),
        (f"x${{{CANARY}", "no reference that the router knows", "`$${`"),
    ],
)
def test_a_reference_without_a_value_is_a_problem_with_its_line(
    tmp_path: Path, text: str, what: str, mend: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    root, problems = resolve(tmp_path, f"log:\n  path: '{text}'")
    (problem,) = problems
    assert problem.where == f"{tmp_path}/router.yaml:2"
    assert problem.path == "log.path"
    assert what in problem.what
    assert mend in problem.mend
    assert CANARY not in str(problem)
    assert root.text("log", "path") is None
