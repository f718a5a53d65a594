"""What takes long by nature; last in the alphabet, as it began before."""

from __future__ import annotations

from .daemon import SlowBody


def test_a_body_that_does_not_come_is_408_after_half_a_minute(slow_body: SlowBody) -> None:
    slow_body.join(45)
    assert slow_body.answer.startswith(b"HTTP/1.1 408 "), slow_body.answer
    assert b'"REQUEST_TIMEOUT"' in slow_body.answer
    assert 29 < slow_body.seconds < 40
