"""The shapes in which recorded batches come."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import typer

from router_core.cli.batches import Upload, read_uploads, uploads_in

DATA = Path(__file__).parents[1] / "data"
A, B = b'{"events":[],"mpid":1}', b'{"events": [ ]}'


@pytest.mark.parametrize(
    ("content", "bodies"),
    [
        (A, [A]),
        (b"\n " + A + b"\r\n", [A]),
        (A + b"\n" + B, [A, B]),
        (A + b"\r\n\r\n" + B + b"\n\n", [A, B]),
        (b"[" + A + b",\n" + B + b"]", [A, B]),
        (b"[" + A + b"]\n[" + B + b"]", [A, B]),
        (orjson.dumps({"events": []}, option=orjson.OPT_INDENT_2), [b'{\n  "events": []\n}']),
        # Faults stay in, for the input to refuse.
        (b'{"events": [],}', [b'{"events": [],}']),
        (b'{"events":\n [],}', [b'{"events":\n [],}']),
        (A + b"\n{oops\n" + B, [A, b"{oops", B]),
        (b'{"mpid":1,"mpid":2}', [b'{"mpid":1,"mpid":2}']),
        (b"[1]", [b"1"]),
        (b"\xff\xfe", [b"\xff\xfe"]),
        (b"[" * 100_000, [b"[" * 100_000]),
        (b'{"path": 3, "body_json": {}}', [b'{"path": 3, "body_json": {}}']),
        (b'{"path": "/v2/events"}', [b'{"path": "/v2/events"}']),
        (b'{"request": "GET"}', [b'{"request": "GET"}']),
        (b"", []),
        (b" \n\n", []),
        (b"[]", []),
    ],
)
def test_the_bytes_of_each_batch_are_kept(content: bytes, bodies: list[bytes]) -> None:
    assert [body for upload in uploads_in(content) for body in upload.batches] == bodies


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (
            {"path": "/v2/events", "headers": [["X-MP-Kits", "7"]], "body_json": {"mpid": 1}},
            Upload(batches=[b'{"mpid":1}'], path="/v2/events", headers={"x-mp-kits": "7"}),
        ),
        (
            {"path": "/v2/events", "body_text": '{"mpid": 1,}', "body_json": None},
            Upload(batches=[b'{"mpid": 1,}'], path="/v2/events"),
        ),
        (
            {"path": "/v2/bulkevents", "body_json": [{"mpid": 1}, {"mpid": 2}]},
            Upload(batches=[b'{"mpid":1}', b'{"mpid":2}'], bulk=True, path="/v2/bulkevents"),
        ),
        (
            {"sdk": "2", "request": {"path": "/v3/JS/k/events", "headers": {"A": "b"}, "body": {"mpid": 1}}},
            Upload(batches=[b'{"mpid":1}'], path="/v3/JS/k/events", headers={"a": "b"}),
        ),
        (
            {"request": {"path": "/v3/JS/k/events", "body": '{"mpid":1}'}},
            Upload(batches=[b'{"mpid":1}'], path="/v3/JS/k/events"),
        ),
        ({"body_json": {"mpid": 1}, "headers": [["a"], 3]}, Upload(batches=[b'{"mpid":1}'])),
    ],
)
def test_a_recorded_request_is_opened(recorded: object, expected: Upload) -> None:
    assert uploads_in(orjson.dumps(recorded)) == [expected]


@pytest.mark.parametrize("path", sorted(DATA.glob("mparticle-*/*.json")), ids=lambda path: path.stem)
def test_every_recorded_client_request_can_be_read(path: Path) -> None:
    upload = read_uploads(str(path))[0]
    recorded = orjson.loads(path.read_bytes())
    assert orjson.loads(upload.body) == recorded["body_json"]
    assert upload.path == recorded["path"]


@pytest.mark.parametrize(
    ("content", "text"), [(None, "cannot read"), (b"", "holds no batch"), (b"[]", "holds no batch")]
)
def test_a_file_without_batches_is_wrong_usage(content: bytes | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "batches.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(typer.BadParameter, match=text):
        read_uploads(str(path))


def test_a_folder_or_an_odd_name_is_wrong_usage(tmp_path: Path) -> None:
    for name in (str(tmp_path), "a\0b"):
        with pytest.raises(typer.BadParameter):
            read_uploads(name)
