"""Throw-away distributions: a module and a `dist-info` folder, which is all that an entry point needs."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path


def distribution(folder: Path, name: str, source: str) -> dict[str, str]:
    """Lay a plugin down in `folder`; returns the environment with which a router finds it."""
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{module}-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text(f"[router_core.plugins]\n{module} = {module}\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


OBSERVER = """
    import json, os
    from dataclasses import asdict
    from router_core.hookspecs import hookimpl

    @hookimpl
    def router_settled(report):
        with open(os.environ["OBSERVED"], "a") as file:
            file.write(json.dumps({name: dict(value) if hasattr(value, "keys") else value
                                   for name, value in vars(report).items()}) + "\\n")
"""
"""Writes each settlement report to the file that OBSERVED names, one JSON line each."""
