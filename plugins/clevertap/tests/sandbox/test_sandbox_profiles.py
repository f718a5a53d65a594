"""Checks of profile records, their order, and the conversions seen in the echo."""

from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer

GOOD = {
    "Name": "John Rush",
    "Email": "example@gmail.com",
    "Gender": "M",
    "Phone": "+35922333232",
    "Employed": "Y",
    "Education": "Graduate",
    "Married": "Y",
    "Age": "18",
    "identity": 18,
}


def profile(**data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": "18", "profileData": data}


@pytest.mark.parametrize(
    "data",
    [
        {},
        GOOD,
        {"Gender": "F"},
        {"Gender": "O"},
        {"Age": 18},
        {"Age": 18.5},
        {"Employed": "N", "Married": "N", "Education": "School"},
        {"DOB": "$D_643852800"},
        {"DOB": "1990-05-28"},  # a date in another form is kept as text (official documentation, FAQ)
        {"email": "not an address", "phone": 12},  # other spellings are custom properties
        {"MSG-email": False, "MSG-push-all": True},
        {"category-unsubscribe": {"email": ["Marketing"]}},
        {"Colours": ["red", "blue"], "Address": {"City": "Sofia"}},
        {"Score": {"$incr": 2}, "Cart": {"$add": ["a"]}, "Old": {"$remove": ["b"]}, "New": {"$set": []}},
        {"Gone": {"$delete": 1}, "Email": {"$delete": True}, "Phone": {"$delete": 1}, "Age": {"$delete": 1}},
        {f"key {n}": n for n in range(256)},
        {"k" * 120: "v" * 512},
    ],
)
def test_good_profiles_are_accepted(sandbox: SandboxServer, data: dict[str, Any]) -> None:
    assert sandbox.upload(profile(**data)).json()["status"] == "success"


def text(what: str) -> str:
    return f"Profile data is incorrect. {what}.Skipped record number : 1"


@pytest.mark.parametrize(
    ("data", "code", "error"),
    [
        ({"Gender": "GG"}, 514, text("Gender needs to be M/F")),
        ({"Gender": "male"}, 514, text("Gender needs to be M/F")),
        ({"Gender": 1}, 514, text("Gender needs to be M/F")),
        ({"Email": "1234"}, 515, text("Email is not valid")),
        ({"Email": "$$$$$"}, 515, text("Email is not valid")),
        ({"Email": ""}, 515, text("Email is not valid")),
        ({"Email": None}, 515, text("Email is not valid")),
        ({"Phone": "223"}, 516, text("Phone number is not valid")),
        ({"Phone": "+44+441234"}, 516, text("Phone number is not valid")),
        ({"Phone": "35922333232"}, 516, text("Phone number is not valid")),
        ({"Phone": 35922333232}, 516, text("Phone number is not valid")),
        ({"Phone": "+1234567"}, 516, text("Phone number is not valid")),
        ({"Employed": True}, 517, text("Employed needs to be Y/N")),
        ({"Employed": "yes"}, 517, text("Employed needs to be Y/N")),
        ({"Education": "223"}, 518, text("Education needs to be School/College/Graduate.")),
        ({"Married": "223"}, 519, text("Married needs to be Y/N")),
        ({"Age": "aa"}, 520, text("Age is invalid")),
        ({"Age": -1}, 520, text("Age is invalid")),
        ({"Age": True}, 520, text("Age is invalid")),
        ({"identity": ""}, 523, None),
        ({"identity": ["a"]}, 523, None),
        ({"a": {"$push": [1]}}, 512, None),
        ({"a": {"$add": ["x"], "$remove": ["y"]}}, 512, None),
        ({"a": {"$add": "x"}}, 512, None),
        ({"a": {"$add": [1]}}, 512, None),
        ({"a": {"$incr": "1"}}, 512, None),
        ({"Name": {"$add": ["x"]}}, 512, None),
        ({"DOB": {"$incr": 1}}, 512, None),
        ({"identity": {"$delete": 1}}, 523, None),
    ],
)
def test_bad_profiles_are_refused_whole(
    sandbox: SandboxServer, data: dict[str, Any], code: int, error: str | None
) -> None:
    answer = sandbox.upload(profile(Hobby="tennis", **data)).json()
    (refused,) = answer["unprocessed"]
    assert (answer["status"], refused["code"]) == ("fail", code)
    if error:
        assert refused["error"] == error
    assert sandbox.profile(identity="18") is None


@pytest.mark.parametrize("data", [..., None, [], "text"])
def test_a_profile_without_data_is_neither_event_nor_profile(sandbox: SandboxServer, data: Any) -> None:
    record = {"type": "profile", "identity": "1"} | ({} if data is ... else {"profileData": data})
    assert sandbox.upload(record).json()["unprocessed"][0]["code"] == 524


def test_faults_are_found_in_the_recorded_order(sandbox: SandboxServer) -> None:
    bad = dict.fromkeys(("Gender", "Email", "Phone", "Employed", "Education", "Married", "Age"), "x")
    record = profile(**bad) | {"ts": 0}
    order = [sandbox.upload(record).json()["unprocessed"][0]["code"]]
    for field in bad:
        order.append(sandbox.upload(profile(**bad)).json()["unprocessed"][0]["code"])
        bad[field] = str(GOOD[field])
    assert order == [525, 514, 515, 516, 517, 518, 519, 520]


@pytest.mark.parametrize(
    ("bad", "phone", "identity"),
    [
        ({"Gender": "GG"}, "+35922333232", 18),  # recorded in 2017
        ({"Email": "$$$$$"}, "+35922333232", 18),  # recorded in 2018, as all below
        ({"Employed": "223"}, 35922333232, 18),
        ({"Education": "223"}, 35922333232, 18),
        ({"Married": "223"}, 35922333232, 18),
        ({"Age": "aa"}, 35922333232, "18"),
    ],
)
def test_the_echo_shows_how_far_the_service_came(
    sandbox: SandboxServer, bad: dict[str, Any], phone: object, identity: object
) -> None:
    sent = {"type": "profile", "identity": 18, "ts": 1521649266, "profileData": GOOD | bad}
    (refused,) = sandbox.upload(sent).json()["unprocessed"]
    echoed = refused["record"]
    assert echoed["identity"] == 18  # the root id is echoed as it was sent
    assert echoed["profileData"] == GOOD | bad | {"Phone": phone, "identity": identity}
