"""`router explain`: the real pipeline, the real request, nothing sent, nothing kept, no secret shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Invoke
from .daemon import router
from .partner import SECRET

BATCH: dict[str, Any] = {
    "user_identities": {"customer_id": "c1"},
    "events": [
        {"event_type": "custom_event", "data": {"event_name": "Viewed"}},
        {"event_type": "opt_out", "data": {}},
        {"event_type": "session_start", "data": {}},
        {"event_type": "session_end", "data": {}},
        {"event_type": "screen_view", "data": {}},
        {"event_type": "custom_event", "data": {"event_name": "Odd", "location": 3}},
    ],
}


@pytest.fixture
def explained(invoke: Invoke, config: Path) -> dict[str, Any]:
    result = invoke("explain", "-", "-c", config, "--input", "shop", "--json", input=json.dumps(BATCH))
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def connection(explained: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in explained["connections"] if one["connection"] == name)
    return found


def test_each_record_has_its_result_and_reason(explained: dict[str, Any]) -> None:
    records = connection(explained, "shop_to_partner")["records"]
    assert [(one["record"], one["event_type"], one["result"], one["code"]) for one in records] == [
        ("1.p", "profile_update", "selected", ""),
        ("1.0", "custom_event", "selected", ""),
        ("1.1", "opt_out", "skipped", "kit_only"),
        ("1.2", "session_start", "skipped", "untagged"),
        ("1.3", "session_end", "rejected", "transform_error"),
        ("1.4", "screen_view", "skipped", "unsupported_event_type"),
        ("1.5", "custom_event", "rejected", "malformed_event"),
    ]
    assert records[3]["message"] == "it has no tag"
    assert records[4]["message"].startswith("tags: KeyError: 'no tag'")


def test_the_requests_are_shown_with_secrets_masked(explained: dict[str, Any]) -> None:
    assert connection(explained, "shop_to_partner")["requests"] == [
        {
            "url": "https://partner.example/?passcode=***",
            "headers": {"Authorization": "***", "x-passcode": "***"},
            "body": {"records": ["1.p", "1.0"], "secret": "***"},
        }
    ]


def test_requests_are_cut_as_deliveries_are(invoke: Invoke, config: Path) -> None:
    event = {"event_type": "custom_event", "data": {"event_name": "Viewed"}}
    result = invoke(
        "explain", "-", "-c", config, "--input", "shop", "--json", input=json.dumps({"events": [event] * 5})
    )
    requests = connection(json.loads(result.stdout), "shop_to_partner")["requests"]
    assert [request["body"]["records"] for request in requests] == [["1.0", "1.1"], ["1.2", "1.3"], ["1.4"]]


def test_nothing_is_sent_or_kept(explained: dict[str, Any], config: Path) -> None:
    assert sorted(path.name for path in config.parent.iterdir()) == ["router.yaml"]


def test_the_input_decides_on_kits_and_names_connections_that_are_off(invoke: Invoke, config: Path) -> None:
    result = invoke("explain", "-", "-c", config, "--input", "web", "--json", input=json.dumps(BATCH))
    explained = json.loads(result.stdout)
    assert (explained["platform"], explained["channel"], explained["disabled"]) == ("web", "javascript", ["web_off"])
    codes = {one["code"] for one in connection(explained, "web_to_partner")["records"]}
    assert codes == {"sent_by_kit", "malformed_event"}


def test_people_get_a_table_and_the_requests(invoke: Invoke, config: Path) -> None:
    text = invoke("explain", "-", "-c", config, "--input", "shop", input=json.dumps(BATCH)).stdout
    assert "Batch 1: shop (data_feeds) accepts it: 7 records" in text
    assert "Connection shop_to_partner to account (partner)" in text
    assert "kit_only: only the Partner kit in an app or page forwards opt_out" in text
    assert "Request 1 of 1" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (b'{"events": [],}', "Not valid JSON: "),
        (b"{oops", "Not valid JSON: "),
        (b"7", "A batch must be a JSON object. (at $)"),
        (b'{"events": 3}', 'Batch field "events" must be a list. (at $.events)'),
        (
            b'{"events": [{"event_type": "custom_event", "data": {}}]}',
            'Required event field "event_name" is missing or empty. (at $.events[0].data.event_name)',
        ),
    ],
)
def test_a_malformed_batch_gets_the_text_of_the_inputs_answer(
    invoke: Invoke, config: Path, batch: bytes, text: str
) -> None:
    result = invoke("explain", "-", "-c", config, "--input", "shop", input=batch)
    assert result.exit_code == 1
    assert f"error: batch 1: shop (data_feeds) refuses it: {text}" in result.stderr
    as_json = invoke("explain", "-", "-c", config, "--input", "shop", "--json", input=batch)
    assert text in json.loads(as_json.stdout)["batches"][0]["refused"]


def test_good_batches_are_explained_beside_bad_ones(invoke: Invoke, config: Path) -> None:
    lines = json.dumps(BATCH) + "\n{oops\n" + json.dumps({"mpid": 1, "events": [{"event_type": "opt_out"}]})
    result = invoke("explain", "-", "-c", config, "--input", "shop", "--json", input=lines)
    assert result.exit_code == 1
    records = connection(json.loads(result.stdout), "shop_to_file")["records"]
    assert [one["record"] for one in records] == ["1.p", "1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "3.0"]


def test_a_plugin_that_fails_is_named_without_the_secret(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("{input: shop, output: archive}", "{input: shop, output: failing}"))
    result = invoke("explain", "-", "-c", config, "--input", "shop", input=json.dumps(BATCH))
    assert result.exit_code == 1
    assert "error: connection shop_to_file: the plugin failed: ValueError: cannot handle it with *** (" in result.stderr
    assert SECRET not in result.output


def test_a_recorded_request_brings_its_headers(invoke: Invoke, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"path": "/v2/events", "headers": [["X-Mp-Kits", "7"]], "body_json": BATCH}))
    result = invoke("explain", path, "-c", config, "--input", "shop", "--connection", "shop_to_file", "--json")
    assert [one["connection"] for one in json.loads(result.stdout)["connections"]] == ["shop_to_file"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-"], "say which input: shop, web"),
        (["-", "--input", "shp"], "no input is named 'shp'. Did you mean 'shop'?"),
        (["-", "--input", "web", "--connection", "shop_to_file"], "no connection of web is named 'shop_to_file'"),
        (["/no/such.json", "--input", "shop"], "cannot read /no/such.json: No such file or directory."),
        (["-", "--input", "web"], "standard input holds no batch."),
    ],
)
def test_wrong_usage_is_told(invoke: Invoke, config: Path, arguments: list[str], text: str) -> None:
    result = invoke("explain", *arguments, "-c", config, input="")
    assert result.exit_code == 2
    assert text in result.stderr


def test_an_input_without_connections_is_told(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text("inputs: {shop: {source: events_api, platform: web, key: k, secret: s}}\n")
    result = invoke("explain", "-", "-c", path, input="{}")
    assert result.exit_code == 0
    assert "No connection has this input" in result.stdout


def test_the_installed_command_explains_for_clevertap(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(
        "inputs: {shop: {source: events_api, platform: data_feeds, key: k, secret: s}}\n"
        "outputs: {ct: {destination: clevertap, settings: {account_id: A, passcode: '${env:CT}', region: nw1}}}\n"
        "connections: {to_ct: {input: shop, output: ct}}\n"
    )
    done = router("explain", "-", "-c", path, "--json", stdin=json.dumps(BATCH).encode(), env={"CT": "PASS-CODE"})
    assert done.returncode == 0
    assert json.loads(done.stdout)["connections"][0]["requests"]
    assert "PASS-CODE" not in done.stdout + done.stderr


def test_rules_and_filters_are_explained_with_their_settings(invoke: Invoke, config: Path) -> None:
    rules = """\
    rules: {environments: [production]}
    filters:
      event_names: {block: [Secret]}
      event_attributes: {block: {Viewed: [email]}}
      user_identities: {allow: [customer_id]}
"""
    text = config.read_text().replace(
        "  shop_to_file: {input: shop, output: archive}\n",
        f"  shop_to_file:\n    input: shop\n    output: archive\n{rules}",
    )
    config.write_text(text)
    viewed = {"event_name": "Viewed", "custom_attributes": {"email": "e", "colour": "red"}}
    batch = {
        "user_identities": {"customer_id": "c1", "email": "e"},
        "device_info": {"android_advertising_id": "a-1", "limit_ad_tracking": True},
        "events": [
            {"event_type": "custom_event", "data": viewed},
            {"event_type": "custom_event", "data": {"event_name": "Secret"}},
        ],
    }
    test = {"environment": "development", "events": [{"event_type": "opt_out", "data": {}}]}
    lines = f"{json.dumps(batch)}\n{json.dumps(test)}"
    arguments = ("explain", "-", "-c", config, "--input", "shop", "--connection", "shop_to_file")
    (found,) = json.loads(invoke(*arguments, "--json", input=lines).stdout)["connections"]
    withheld = "android_advertising_id is left out: limit_ad_tracking is on"
    email = "email is left out by connections.shop_to_file.filters.user_identities"
    assert [(one["record"], one["code"], one["notes"]) for one in found["records"]] == [
        ("1.p", "", [withheld, email]),
        ("1.0", "", [withheld, email, "email is left out by connections.shop_to_file.filters.event_attributes"]),
        ("1.1", "filtered_event_name", []),
        ("2.0", "other_environment", []),
    ]
    messages = [one["message"] for one in found["records"]]
    assert messages[2] == "connections.shop_to_file.filters.event_names keeps events of its name back"
    assert messages[3] == "only production goes here, by connections.shop_to_file.rules.environments"
    assert "filters.event_attributes" in invoke(*arguments, input=lines).stdout
