"""A data plan and a transform of the kind that users write, for the events of `bodies`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from router_core.clock import SystemClock
from router_core.components import TransformContext
from router_core.dataplan import CODES, read_data_plan
from router_core.plangate import PlanGate
from router_core.telemetry import Telemetry
from router_core.transforms.python import PythonSettings, PythonTransform

_numbers = count()
_PLAN = """\
$defs:
  product:
    properties:
      product_name: {type: string}
      product_id: {type: string, pattern: "^SKU-[0-9]+$"}
      category: {type: string}
      price: {type: number, minimum: 0}
      quantity: {type: integer, minimum: 1}
      currency: {enum: [USD, EUR, GBP, INR]}
      campaign: {type: string}
      referrer: {type: string, maxLength: 2000}
      in_stock: {type: boolean}
      comment: {type: string}
    required: [product_id, price]
events:
  custom_event:
    Viewed Product: {$ref: "#/$defs/product"}
    Added To Basket: {$ref: "#/$defs/product"}
    Searched: {$ref: "#/$defs/product"}
    Shared: {$ref: "#/$defs/product"}
    Rated: {$ref: "#/$defs/product"}
user_attributes:
  properties: {plan: {enum: [free, basic, gold]}, points: {type: integer}}
  additionalProperties: true
"""
_FUNCTION = """\
from router_core.edits import with_attributes

def mark(record):
    return with_attributes(record, seen=True)
"""


def data_plan(folder: Path) -> PlanGate:
    """Five events of ten attributes; everything that breaks it is allowed, which costs the same."""
    path = folder / "plan.yaml"
    path.write_text(_PLAN)
    return PlanGate(read_data_plan(path), dict.fromkeys(CODES, "allow"))


def python_transform(folder: Path) -> PythonTransform:
    """A function that sets one attribute."""
    module = f"benchmarked_{next(_numbers)}"  # Python loads a name once
    (folder / f"{module}.py").write_text(_FUNCTION)
    nothing: Any = None  # it needs neither log, instruments nor store
    return PythonTransform(
        TransformContext(
            name="mark", settings=PythonSettings(function=f"{module}:mark", folder=folder),
            clock=SystemClock(), log=nothing, meter=nothing, telemetry=Telemetry(), store=nothing, connection="bench",
        )
    )  # fmt: skip
