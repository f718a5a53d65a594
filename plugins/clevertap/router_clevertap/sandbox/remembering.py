"""Results remembered by name, in bounded memory."""

from collections.abc import Callable
from functools import lru_cache
from typing import Concatenate, Final, ParamSpec, TypeVar

_MAX_CHARS: Final = 1024  # a number of entries bounds memory only if each is small

Rest = ParamSpec("Rest")
Result = TypeVar("Result")
OfName = Callable[Concatenate[str, Rest], Result]


def remembered(entries: int) -> Callable[[OfName[Rest, Result]], OfName[Rest, Result]]:
    """Remember what a function says of short names: a stream has few of them. Other arguments must be hashable."""

    def decorate(function: OfName[Rest, Result]) -> OfName[Rest, Result]:
        known = lru_cache(maxsize=entries)(function)

        def recall(name: str, /, *more: Rest.args, **named: Rest.kwargs) -> Result:
            if len(name) > _MAX_CHARS:
                return function(name, *more, **named)
            return known(name, *more, **named)  # type: ignore[arg-type]  # typed for hashable arguments only

        return recall

    return decorate
