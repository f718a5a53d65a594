"""The page and what it asks for."""

import re

import httpx
import pytest
from router_clevertap.sandbox import SandboxServer


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/sandbox/page.css", "text/css"), ("/sandbox/page.js", "text/javascript")],
)
def test_the_page_and_its_parts_are_served_under_a_strict_policy(
    sandbox: SandboxServer, path: str, media_type: str
) -> None:
    response = httpx.get(sandbox.url + path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_script(sandbox: SandboxServer) -> None:
    page = httpx.get(sandbox.url).text
    assert re.findall(r'(?:src|href)="(?!/sandbox/|data:)', page) == []
    assert re.findall(r"<script(?! src)|<style|\son\w+=|style=", page) == []


def test_the_script_never_writes_html(sandbox: SandboxServer) -> None:
    script = httpx.get(f"{sandbox.url}/sandbox/page.js").text
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []


def test_the_overview_has_everything_newest_first(sandbox: SandboxServer) -> None:
    for n in range(3):
        sandbox.upload({"type": "event", "identity": f"u{n}", "evtName": "Seen", "evtData": {}})
    sandbox.upload({"type": "event", "identity": "u1", "evtName": "App Launched", "evtData": {}})
    sandbox.fault(status=503)
    overview = httpx.get(f"{sandbox.url}/sandbox/overview").json()
    assert [entry["n"] for entry in overview["records"]] == [3, 2, 1]
    assert [person["identity"] for person in overview["people"]] == ["u2", "u1", "u0"]
    assert [refusal["code"] for refusal in overview["refusals"]] == [513]
    assert [fault["status"] for fault in overview["faults"]] == [503]
    assert overview["stats"]["accepted"] == 3
    assert "passcode" not in str(overview)


def test_the_overview_does_not_show_what_was_erased(sandbox: SandboxServer) -> None:
    sandbox.upload({"type": "profile", "identity": "u1", "profileData": {"Name": "Secret"}})
    httpx.post(f"{sandbox.url}/1/delete/profiles.json", headers=sandbox.headers, json={"identity": "u1"})
    overview = httpx.get(f"{sandbox.url}/sandbox/overview")
    assert "Secret" not in overview.text
    assert overview.json()["records"][0]["erased"] is True
