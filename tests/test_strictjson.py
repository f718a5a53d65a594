"""One meaning only: what two parsers could read in two ways is refused, with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_core.errors import InvalidBatch
from router_core.strictjson import DEEPEST, strict_json

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
DOCUMENTS = st.recursive(
    SCALARS | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def refusal(body: bytes) -> InvalidBatch:
    with pytest.raises(InvalidBatch) as caught:
        strict_json(body)
    return caught.value


def nested(depth: int, way: str, core: str = "") -> bytes:
    """`depth` containers within each other."""
    opening = {"objects": ['{"a":'], "lists": ["["], "mixed": ['{"a":', "["]}[way]
    opened = [opening[level % len(opening)] for level in range(depth)]
    inner = core or ("{}" if opened[-1] == "{" else "0")
    return ("".join(opened) + inner + "".join("]" if o == "[" else "}" for o in reversed(opened))).encode()


@given(document=DOCUMENTS, separators=SEPARATORS, ascii_only=st.booleans())
@example(document={"a:b": ":", "c": "\\u003a", "d": '"{[:\\'}, separators=(",", ":"), ascii_only=True)
@example(document={"\\u0000": "\\u0000"}, separators=(",", ":"), ascii_only=True)
def test_a_document_without_oddities_reads_as_with_the_standard_library(
    document: Any, separators: tuple[str, str], ascii_only: bool
) -> None:
    body = json.dumps(document, separators=separators, ensure_ascii=ascii_only).encode()
    assert strict_json(body) == json.loads(body) == document


@given(
    head=st.dictionaries(NAMES, SCALARS, max_size=3),
    name=NAMES,
    values=st.tuples(DOCUMENTS, DOCUMENTS),
    separators=SEPARATORS,
    escaped=st.booleans(),
    around=st.sampled_from(["{}", "[{}]", '{{"outer": [1, {}]}}']),
)
def test_a_duplicate_name_is_always_found(
    head: dict[str, Any], name: str, values: tuple[Any, Any], separators: tuple[str, str], escaped: bool, around: str
) -> None:
    def dumped(value: Any) -> str:
        return json.dumps(value, separators=separators, ensure_ascii=escaped)

    pairs = [*((k, v) for k, v in head.items() if k != name), (name, values[0]), (name, values[1])]
    text = "{" + separators[0].join(f"{dumped(k)}{separators[1]}{dumped(v)}" for k, v in pairs) + "}"
    error = refusal(around.format(text).encode())
    assert error.message == "An object has the same name twice."
    assert error.place == f'"{name}"'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"a":1,"a":1}', "a"),
        ('{ "a" : 1 , "a" : 2 }', "a"),
        ('{"a":{"b":1,"b":2}}', "b"),
        ('[{"x":[{"b":1,"b":2}]}]', "b"),
        ('{"a":1,"\\u0061":2}', "a"),
        ('{"a":1,"a":2,"t":"\\u003a"}', "a"),
        ('{"a":1,"a":2,"t":"\\u003A"}', "a"),
        ('{"a":1,"a":2,"\\u003a":0}', "a"),
        ('{"a:":1,"a:":2,"t":"\\u003a\\u003a"}', "a:"),
        ('{"a":1,"a":2,"t":"\\\\u003a"}', "a"),
        ('{"é":1,"\\u00e9":2}', "é"),
        ('{"":1,"":2}', ""),
        ('{"a":":","a":":","b":"::"}', "a"),
        ('{"a":1.0,"a":1e0}', "a"),
    ],
)
def test_a_duplicate_name_is_refused_and_named(text: str, name: str) -> None:
    error = refusal(text.encode())
    assert (error.message, error.place) == ("An object has the same name twice.", f'"{name}"')


def test_a_long_duplicate_name_is_shown_cut() -> None:
    name = "n" * 5000
    assert refusal(json.dumps({name: 1}).encode()[:-1] + f',"{name}":2}}'.encode()).place == f'"{"n" * 100}"'


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":{"a":1}}',
        '[{"a":1},{"a":1}]',
        '{"a":1,"A":2}',
        '{"a":"\\u003a","b":"a"}',
        '{"a":"\\"a\\":1"}',
        '{"é":1,"e\\u0301":2}',
    ],
)
def test_the_same_name_in_another_object_is_no_duplicate(text: str) -> None:
    assert strict_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":}',
        b"{'a':1}",
        b"[1,]",
        b"NaN",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"[-Infinity]",
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'{"a":"\\ud83d\\u0041"}',
        b'"\xff"',
        b'{"a":"\xc3"}',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'{"a":1} x',
        b"{}{}",
        b"{}\0",
        b'"raw \0 here"',
        b'"raw \n here"',
        b"01",
        b"1e999",
        b"9" * 5000,
        b'{"a":1,"a":' + b"9" * 5000 + b"}",
        b"\x1f\x8b\x08\0",
        b"// comment\n{}",
    ],
)
def test_what_is_no_json_is_refused_with_a_byte(body: bytes) -> None:
    error = refusal(body)
    assert error.message.startswith("Not valid JSON: ")
    assert error.place.startswith("byte ")
    assert 0 <= int(error.place.removeprefix("byte ")) <= len(body)


@pytest.mark.parametrize(("body", "at"), [(b'{"a":1} x', 8), ('{"é":1} x'.encode(), 9), (b'{"a":x}', 5)])
def test_the_place_is_counted_in_bytes(body: bytes, at: int) -> None:
    assert refusal(body).place == f"byte {at}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ['{"a": 1}', "[1]"])
def test_utf_16_is_named(encoding: str, text: str) -> None:
    assert "it is UTF-16, and must be UTF-8" in refusal(text.encode(encoding)).message


def test_a_byte_order_mark_is_named() -> None:
    assert "it starts with a byte order mark" in refusal(b"\xef\xbb\xbf{}").message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a":"x\\u0000y"}', "$.a"),
        ('{"x\\u0000":1}', "$"),
        ('"\\u0000"', "$"),
        ('{"e":[1,{"n":"\\u0000"}]}', "$.e[1].n"),
        ('[{"k":{"\\u0000":1}}]', "$[0].k"),
    ],
)
def test_an_escaped_nul_is_refused_with_its_place(text: str, place: str) -> None:
    error = refusal(text.encode())
    assert (error.message, error.place) == ("Text and names must not contain the character NUL.", place)


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert strict_json(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize("way", ["objects", "lists", "mixed"])
class TestDepth:
    def test_fifty_levels_are_taken(self, way: str) -> None:
        body = nested(DEEPEST, way)
        assert strict_json(body) == json.loads(body)

    def test_one_more_is_refused(self, way: str) -> None:
        error = refusal(nested(DEEPEST + 1, way))
        assert error.message == f"Nested deeper than {DEEPEST} levels."
        assert error.place.startswith({"objects": "$.a.a", "lists": "$[0][0]", "mixed": "$.a[0]"}[way])
        assert len(error.place) <= 200

    @pytest.mark.parametrize("depth", [300, 1000, 1024, 1025, 100_000])
    def test_any_depth_is_refused_without_harm(self, way: str, depth: int) -> None:
        refusal(nested(depth, way))

    def test_braces_in_text_are_no_levels(self, way: str) -> None:
        body = nested(10, way, json.dumps("{[" * 1000))
        assert strict_json(body) == json.loads(body)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '[{"a":' * 100_000])
def test_openings_that_never_close_are_refused(text: str) -> None:
    refusal(text.encode())


def test_many_siblings_are_no_levels() -> None:
    assert len(strict_json(b"[" + b"{}," * 5000 + b"[]]")) == 5001


def test_a_long_way_to_a_place_is_shown_cut() -> None:
    body = json.dumps({"n" * 5000: {"m" * 5000: "\0"}}).encode()
    assert refusal(body).place == "$." + "n" * 50 + "." + "m" * 50


@given(st.binary(max_size=60) | st.text('{}[]:,"\\u003a0 aA1.eE-ntf', max_size=60).map(str.encode))
def test_nothing_but_invalid_batch_is_ever_raised(body: bytes) -> None:
    try:
        document = strict_json(body)
    except InvalidBatch:
        return
    assert document == json.loads(body)
