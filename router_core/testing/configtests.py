"""Tests of a configuration: what each connection makes of a batch, written in YAML beside the configuration.

`router.yaml` has its tests in `router.tests.yaml`; the shape is described in docs/config-tests.md. They run through the
pipeline and the mapping of `router explain`; nothing is sent. In pytest:

    @pytest.mark.parametrize("case", config_tests("router.yaml"), ids=str)
    def test_configuration(case: ConfigTest) -> None:
        case.check()
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router_core.configfile import read_config_file
from router_core.configtree import KeyPath, Node
from router_core.draft import suggestion
from router_core.errors import ConfigurationError, Problem
from router_core.rules import OTHER_ENVIRONMENT
from router_core.testing.expectations import differences

if TYPE_CHECKING:
    from router_core.cli.rehearsal import BatchVerdict, Rehearsal
    from router_core.configuration import Configuration
    from router_core.plugins import Plugins

_FILE: Final = ("environment", "tests")
_TEST: Final = ("name", "input", "batch", "batches", "file", "headers", "refused", "connections")
_CONNECTION: Final = ("records", "requests", "fault")


@dataclass(frozen=True, kw_only=True)
class ConfigTest:
    """One test. `str` is its name."""

    name: str
    where: str
    """`file:line`."""
    configuration: Configuration = field(repr=False)
    input: str
    batches: Sequence[bytes] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    refused: Any = field(repr=False)
    """What the answer of the input has to hold; None if it has to take the batch."""
    connections: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def differences(self) -> list[str]:
        """Where what happens differs from what is expected; empty if nowhere."""
        from router_core.cli.batches import Upload
        from router_core.cli.rehearsal import accepted_batches, rehearse_all

        parts = {name: self.configuration.parts_of(name) for name in self.connections}
        upload = Upload(batches=self.batches, bulk=len(self.batches) > 1, headers=self.headers)
        stored, verdicts = accepted_batches([upload], self.configuration.inputs[self.input])
        found = list(self._of_input(verdicts))
        rehearsals = iter(asyncio.run(rehearse_all([part for name in parts for part in parts[name]], stored)))
        for name, expected in self.connections.items():
            whole = _as_one([next(rehearsals) for _ in parts[name]])
            found += [f"{name}: {line}" for line in _of_connection(expected, whole)]
        return found

    def _of_input(self, verdicts: Sequence[BatchVerdict]) -> Iterator[str]:
        said = [f"batch {one.batch}: {one.refused}" for one in verdicts if one.refused is not None]
        if self.refused is None:
            yield from (f"{self.input}: refuses {text}" for text in said)
        elif not any(str(self.refused) in text for text in said):
            yield f"{self.input}: expected a refusal with {str(self.refused)!r}, got {said or 'none'}"

    def check(self) -> None:
        """Raises `AssertionError` with every difference."""
        found = self.differences()
        assert not found, f"{self.where}: {self.name}\n" + "\n".join(found)


def _as_one(parts: Sequence[Rehearsal]) -> Rehearsal:
    """A connection with a part for each environment, as one: each record ends as at the part that is for it."""
    whole, *others = parts
    records = {one.record: one for one in whole.records}
    for part in others:
        records |= {one.record: one for one in part.records if one.code != OTHER_ENVIRONMENT}
    return replace(
        whole,
        records=list(records.values()),
        requests=[request for part in parts for request in part.requests],
        fault=next((part.fault for part in parts if part.fault is not None), None),
    )


def _of_connection(expected: Mapping[str, Any], rehearsal: Rehearsal) -> Iterator[str]:
    from router_core.cli.printing import json_text

    if rehearsal.fault is not None or "fault" in expected:
        yield from differences(expected.get("fault"), rehearsal.fault, "fault")
    ends = {one.record: one.code or one.result for one in rehearsal.records}
    why = {one.record: one.message for one in rehearsal.records}
    for record, end in (expected.get("records") or {}).items():
        if record not in ends:
            yield f"records: there is no {record}; there are {', '.join(ends) or 'none'}"
        elif ends[record] != end:
            reason = f" ({why[record]})" if why[record] else ""
            yield f"records.{record}: expected {end!r}, got {ends[record]!r}{reason}"
    if "requests" in expected:
        requests = json.loads(json_text(rehearsal.requests))
        yield from differences(expected["requests"] or [], requests, "requests")


def tests_beside(config: Path) -> Path:
    """Where the tests of a configuration are by default: `router.tests.yaml` beside `router.yaml`."""
    return config.with_name(f"{config.stem}.tests{config.suffix}")


def config_tests(
    config: str | Path,
    tests: str | Path | None = None,
    *,
    plugins: Plugins | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[ConfigTest]:
    """The tests of a configuration, by default those beside it.

    The file's `environment` comes before the process's. Raises `ConfigurationError` with all that is wrong in the
    configuration, or else in the tests.
    """
    from router_core.check import load_configuration

    config = Path(config)
    path = tests_beside(config) if tests is None else Path(tests)
    root, problems = read_config_file(path)
    reader = _Reader(root, path, problems)
    environment = reader.environment()
    if problems:
        raise ConfigurationError(problems)
    environ = {**(os.environ if environ is None else environ), **environment}
    found = reader.tests(load_configuration(config, plugins=plugins, environ=environ))
    if problems:
        raise ConfigurationError(problems)
    return found


def _as_written(configuration: Configuration, source: str | None) -> list[str]:
    """The connections of an input as the file names them, whatever parts they have."""
    names = (one.name.partition(".")[0] for one in configuration.connections.values() if one.input.name == source)
    return list(dict.fromkeys(names))


def _json(node: Node) -> bytes:
    return json.dumps(node.plain()).encode()


class _Reader:
    def __init__(self, root: Node, path: Path, problems: list[Problem]) -> None:
        self._root = root
        self._folder = path.parent
        self._problems = problems

    def environment(self) -> dict[str, str]:
        self._known((), _FILE)
        given = self._root.child("environment")
        if given is None or given.value is None:
            return {}
        if not isinstance(given.value, dict):
            self._problem(("environment",), "must be a mapping of names to values.", "Write `NAME: value`.")
        for name, node in given.mapping.items():
            if not isinstance(node.value, str):
                self._problem(("environment", name), "must be text.", "Put the value in quotes.")
        return {name: node.value for name, node in given.mapping.items() if isinstance(node.value, str)}

    def tests(self, configuration: Configuration) -> list[ConfigTest]:
        listed = self._root.child("tests")
        if listed is None or not isinstance(listed.value, list) or not listed.value:
            self._problem(("tests",), "must be a list of tests.", "Write `tests:` and below it `- name: …`.")
            return []
        found = [self._test(("tests", at), configuration) for at in range(len(listed.value))]
        return [test for test in found if test is not None]

    def _test(self, path: KeyPath, configuration: Configuration) -> ConfigTest | None:
        before = len(self._problems)
        node = self._root.nearest(path)
        self._known(path, _TEST)
        source = self._name((*path, "input"), configuration.inputs, next(iter(configuration.inputs), None))
        for name in self._mapping((*path, "connections")):
            below = (*path, "connections", name)
            of_input = _as_written(configuration, source)
            if name not in of_input:
                self._problem(below, f"no connection of {source} is named {name!r}.", suggestion(name, of_input))
            self._known(below, _CONNECTION)
            self._mapping((*below, "records"))
        batches = self._batches(path)
        refused = node.child("refused")
        if not (node.mapping.get("connections") or refused):
            self._problem(path, "expects nothing.", "Add `connections:` or `refused:`.")
        if len(self._problems) > before or source is None:
            return None
        headers = {name.lower(): str(below.value) for name, below in self._mapping((*path, "headers")).items()}
        connections = self._mapping((*path, "connections"))
        return ConfigTest(
            name=node.text("name") or f"test {int(path[-1]) + 1}",
            where=str(node.place),
            configuration=configuration,
            input=source,
            batches=batches,
            headers=headers,
            refused=None if refused is None else refused.plain(),
            connections={name: below.plain() or {} for name, below in connections.items()},
        )

    def _batches(self, path: KeyPath) -> list[bytes]:
        node = self._root.nearest(path)
        given = [name for name in ("batch", "batches", "file") if name in node.mapping]
        if len(given) != 1:
            self._problem(path, "must have one of `batch`, `batches` and `file`.", "Add `batch:` with an event batch.")
            return []
        below = node.mapping[given[0]]
        if given[0] == "batch":
            return [_json(below)]
        if given[0] == "batches" and isinstance(below.value, list):
            return [_json(one) for one in below.value]
        if given[0] == "file" and isinstance(below.value, str):
            return self._from_file((*path, "file"), self._folder / below.value)
        self._problem(
            (*path, given[0]), "must be a list of batches." if given[0] == "batches" else "must be a path.", ""
        )
        return []

    def _from_file(self, path: KeyPath, file: Path) -> list[bytes]:
        from router_core.cli.batches import uploads_in

        try:
            uploads = uploads_in(file.read_bytes())
        except OSError as error:
            self._problem(path, f"cannot read {file}: {error.strerror}.", "Check the path.")
            return []
        if not uploads:
            self._problem(path, f"{file} holds no batch.", "")
        return [batch for upload in uploads for batch in upload.batches]

    def _name(self, path: KeyPath, known: Mapping[str, object], only: str | None) -> str | None:
        given = self._root.at(path)
        if given is None and len(known) == 1:
            return only
        if given is None:
            self._problem(path, f"say which input: {', '.join(known) or 'there is none'}.", "Add `input:`.")
        elif given.value not in known:
            self._problem(path, f"no input is named {given.value!r}.", suggestion(str(given.value), list(known)))
        else:
            return str(given.value)
        return None

    def _mapping(self, path: KeyPath) -> Mapping[str, Node]:
        node = self._root.at(path)
        if node is not None and node.value is not None and not isinstance(node.value, dict):
            self._problem(path, "must be a mapping of names to values.", "Write `name: value` lines below it.")
        return node.mapping if node is not None else {}

    def _known(self, path: KeyPath, known: Sequence[str]) -> None:
        for name in self._mapping(path):
            if name not in known:
                self._problem((*path, name), f"unknown name {name!r}.", suggestion(name, known))

    def _problem(self, path: KeyPath, what: str, mend: str) -> None:
        dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        self._problems.append(Problem(where=str(self._root.nearest(path).place), path=dotted, what=what, mend=mend))
