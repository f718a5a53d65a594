"""Silent damage of single values, the same for events and profiles."""

from datetime import date

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.damage import Damage, damage


def value_damage(value: object, path: str, *, is_text: bool = False) -> tuple[Damage, ...]:
    """Damage of one scalar: at most one. `is_text`: its key never holds a date, so what looks like one is none."""
    code = _code(value)
    if not code or (is_text and code in ("date_as_text", "malformed_date")):
        return ()
    return (damage(code, path),)


def _code(value: object) -> str:
    if isinstance(value, str):
        if not value:
            return "empty_value"
        if exceeds(value, rules.MAX_VALUE_BYTES):
            return "value_too_long"
        if value.startswith("$D_"):
            return "" if is_clevertap_date(value) else "malformed_date"
        return "date_as_text" if value[0] in "0123456789" and _is_iso_date(value) else ""
    return "null_value" if value is None else ""


def is_clevertap_date(value: object) -> bool:
    """Whether a value is `$D_` and epoch seconds of the years up to 9999: more digits are milliseconds."""
    if not isinstance(value, str) or not rules.CLEVERTAP_DATE.fullmatch(value):
        return False
    return abs(int(value[3:])) <= rules.MAX_DATE_SECONDS


def _is_iso_date(text: str) -> bool:
    if not rules.ISO_DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def exceeds(text: str, max_bytes: int) -> bool:
    """Whether the text is longer than `max_bytes` in UTF-8. Encodes only what could be."""
    return len(text) * 4 > max_bytes and len(text.encode(errors="surrogatepass")) > max_bytes
