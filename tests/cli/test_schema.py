"""`router schema`."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Invoke
from .daemon import router
from .partner import SECRET


def test_the_schema_is_printed_or_written(invoke: Invoke, tmp_path: Path) -> None:
    printed = invoke("schema")
    assert json.loads(printed.stdout)["title"] == "Router Core configuration"
    path = tmp_path / "schema.json"
    result = invoke("schema", "--output", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.read_text() == printed.stdout


def test_the_schema_has_no_secrets_default(invoke: Invoke) -> None:
    assert SECRET not in invoke("schema").stdout


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    done = router("schema", "-o", tmp_path / "no" / "schema.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write ")
    assert "No such file or directory" in done.stderr
