"""Every rule broken once: one row a rule, with its section in docs/clevertap-sandbox.md and what the sandbox says.

A number is the code of a refusal; words are codes of silent damage, each with its place.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from router_clevertap.sandbox import SandboxServer, damage_of, refusals
from router_clevertap.sandbox.damage import CATALOGUE

NOW = 1_795_000_000
GAID, IDFV, WEB = "__g" + "a1" * 16, "-v" + "b2" * 16, "c3D4" * 8
DOCUMENT = Path(__file__).parents[4] / "docs" / "clevertap-sandbox.md"


def event(name: str = "Seen", data: Any = None, **root: Any) -> dict[str, Any]:
    record = {"type": "event", "identity": "u1", "ts": NOW, "evtName": name, "evtData": {} if data is None else data}
    return {key: value for key, value in (record | root).items() if value is not ...}


def profile(data: Any, **root: Any) -> dict[str, Any]:
    record = {"type": "profile", "identity": "u1", "profileData": data}
    return {key: value for key, value in (record | root).items() if value is not ...}


def device(object_id: str) -> dict[str, Any]:
    return event(identity=..., objectId=object_id)


def token(object_id: Any = GAID, **data: Any) -> dict[str, Any]:
    return {"type": "token", "objectId": object_id, "tokenData": {"id": "t", "type": "fcm"} | data}


def charged(**data: Any) -> dict[str, Any]:
    return event("Charged", data)


REFUSED: list[tuple[str, Any, int]] = [
    ("2.1 a record is an event, a profile or a token", event(type="Event"), 524),
    ("2.1 profileData is an object", profile([]), 524),
    ("2.1 one id", event(identity=...), 523),
    ("2.1 one id only", event(objectId=GAID), 523),
    ("2.1 no root key email", event(identity=..., email="a@b.example"), 523),
    ("2.1 ids of 120 characters", event(identity="x" * 121), 523),
    ("2.1 profileData.identity is an id too", profile({"identity": "x" * 121}), 523),
    ("2.1 objectId has the characters of a CleverTap ID", device("a b"), 526),
    ("2.1 ts is not 0", event(ts=0), 525),
    ("2.1 ts is no ISO text", event(ts="2026-11-23T10:00:00Z"), 525),
    ("2.1 ts is no text", event(ts=str(NOW)), 525),
    ("2.1 ts is no fraction", event(ts=NOW + 0.5), 525),
    ("2.1 ts is no milliseconds", event(ts=NOW * 1000), 525),
    ("2.1 evtName is mandatory", event(""), 509),
    ("2.1 evtData is an object", event(data=[]), 512),
    ("2.2 no object in evtData", event(data={"a": {}}), 512),
    ("2.2 no array in evtData", event(data={"a": ["b"]}), 512),
    ("2.2 one operation a key", profile({"a": {"$add": ["b"], "$remove": ["c"]}}), 512),
    ("2.2 known operations", profile({"a": {"$push": ["b"]}}), 512),
    ("2.2 lists hold text", profile({"a": {"$add": [1]}}), 512),
    ("2.2 numbers for $incr", profile({"a": {"$incr": "1"}}), 512),
    ("2.2 no list operation on a reserved field", profile({"Name": {"$add": ["b"]}}), 512),
    ("2.3 Gender", profile({"Gender": "Female"}), 514),
    ("2.3 Gender is case-sensitive", profile({"Gender": "f"}), 514),
    ("2.3 Email", profile({"Email": "1234"}), 515),
    ("2.3 Phone has a country code", profile({"Phone": "0701234567"}), 516),
    ("2.3 Phone has a plus", profile({"Phone": "35922333232"}), 516),
    ("2.3 Phone is text", profile({"Phone": 35922333232}), 516),
    ("2.3 Employed", profile({"Employed": True}), 517),
    ("2.3 Education", profile({"Education": "graduate"}), 518),
    ("2.3 Married", profile({"Married": "yes"}), 519),
    ("2.3 Age", profile({"Age": "aa"}), 520),
    ("2.4 restricted names", event("App Launched"), 513),
    ("2.4 restricted names, compared as CleverTap does", event("web pageviewed"), 513),
    ("2.4 100 properties", event(data={f"k{n}": n for n in range(101)}), 522),
    ("2.4 discarded events", event("Gone"), 528),
    ("2.5 Items holds objects", charged(Items=["a"]), 512),
    ("2.5 Items are flat", charged(Items=[{"a": {}}]), 512),
    ("5 a token needs an objectId", {"type": "token", "identity": "u1", "tokenData": {"id": "t", "type": "fcm"}}, 530),
    ("5 tokenData", {"type": "token", "objectId": GAID}, 531),
    ("5 tokenData.id", token(id=""), 532),
    ("5 tokenData.type", token(type=""), 533),
    ("5 the type fits an Android id", token(type="apns"), 534),
    ("5 the type fits an Apple id", token(IDFV, type="fcm"), 534),
    ("5 the type fits a web id", token(WEB, type="fcm"), 534),
    ("5 types of the token's fields", token(id=7), 535),
]

DAMAGED: list[tuple[str, dict[str, Any], str]] = [
    ("2.1 an id is text", event(identity=18), "number_as_identity identity"),
    ("2.1 other root keys", event(source="app", email="a"), "root_key_ignored email, root_key_ignored source"),
    ("2.1 evtData in a profile", profile({}, evtData={}), "root_key_ignored evtData"),
    ("2.1 an event has a ts", event(ts=...), "no_timestamp ts"),
    ("2.1 ts of ten digits", event(ts=17_950_000), "implausible_timestamp ts"),
    ("2.2 null", event(data={"a": None}), "null_value evtData.a"),
    ("2.2 null in a profile", profile({"a": None}), "null_value profileData.a"),
    ("2.2 empty text", event(data={"a": ""}), "empty_value evtData.a"),
    ("2.2 empty list", event("Charged", {"Items": []}), "empty_value evtData.Items"),
    ("2.2 empty object", profile({"a": {}}), "empty_value profileData.a"),
    ("2.2 empty text in a list", profile({"a": {"$set": [""]}}), "empty_value profileData.a"),
    ("2.2 a day as text", event(data={"a": "2026-11-23"}), "date_as_text evtData.a"),
    ("2.2 a time as text", event(data={"a": "2026-11-23T10:00:00.123Z"}), "date_as_text evtData.a"),
    ("2.2 a time with its zone as text", profile({"a": "2026-11-23 10:00:00 +0100"}), "date_as_text profileData.a"),
    ("2.2 $D_ and milliseconds", event(data={"a": "$D_1795000000000"}), "malformed_date evtData.a"),
    ("2.2 $D_ and words", event(data={"a": "$D_today"}), "malformed_date evtData.a"),
    ("2.2 nested object in a profile", profile({"a": {"b": 1}}), "nested_value profileData.a"),
    ("2.2 nested array in a profile", profile({"a": [["b"]]}), "nested_value profileData.a"),
    ("2.2 a list holds text", profile({"a": ["b", 1]}), "list_item_not_text profileData.a"),
    ("2.2 a list holds each text once", profile({"a": {"$add": ["b", "b"]}}), "repeated_list_item profileData.a"),
    ("2.3 spelling", profile({"email": "a@b.example"}), "misspelt_field profileData.email"),
    ("2.3 spelling of two words", profile({"customer type": "gold"}), "misspelt_field profileData.customer type"),
    ("2.3 spelling of switches", profile({"msg-EMAIL": False}), "misspelt_field profileData.msg-EMAIL"),
    ("2.3 mParticle's spelling", profile({"$Gender": "M"}),
     "key_characters profileData.$Gender, misspelt_field profileData.$Gender"),
    ("2.3 DOB", profile({"DOB": "1990-05-28"}), "date_of_birth_as_text profileData.DOB"),
    ("2.3 DOB is no number", profile({"DOB": 643852800}), "date_of_birth_as_text profileData.DOB"),
    ("2.3 Phone has a possible length", profile({"Phone": "+1555123456"}), "impossible_phone profileData.Phone"),
    ("2.3 Phone has a known country", profile({"Phone": "+2101234567"}), "impossible_phone profileData.Phone"),
    ("2.3 Name", profile({"Name": 7}), "field_not_text profileData.Name"),
    ("2.3 Photo", profile({"Photo": "me.png"}), "photo_not_url profileData.Photo"),
    ("2.3 switches", profile({"MSG-sms": "false"}), "switch_not_boolean profileData.MSG-sms"),
    ("2.4 event names", event("x" * 513), "name_too_long evtName"),
    ("2.4 characters of event names", event("Screen Viewed: Home"), "name_characters evtName"),
    ("2.4 keys", event(data={"k" * 121: 1}), f"key_too_long evtData.{'k' * 121}"),
    ("2.4 keys, in bytes", profile({"é" * 61: 1}), f"key_too_long profileData.{'é' * 61}"),
    ("2.4 characters of keys", event(data={"a.b": 1}), "key_characters evtData.a.b"),
    ("2.4 characters of profile keys", profile({"a#": 1}), "key_characters profileData.a#"),
    ("2.4 keys without a name", event(data={" ": 1}), "empty_key evtData. "),
    ("2.4 keys of CleverTap's own", event(data={"wzrk_id": 1}), "system_key evtData.wzrk_id"),
    ("2.4 profile keys of CleverTap's own", profile({"CT Source": 1}), "system_key profileData.CT Source"),
    ("2.4 keys are compared", event(data={"A B": 1, "ab": 2}), "key_collision evtData.ab"),
    ("2.4 keys are compared once stripped", event(data={"ab": 1, "a.b": 2}),
     "key_characters evtData.a.b, key_collision evtData.a.b"),
    ("2.4 values", event(data={"a": "v" * 513}), "value_too_long evtData.a"),
    ("2.4 values, in bytes", profile({"a": "é" * 257}), "value_too_long profileData.a"),
    ("2.4 values of lists", profile({"a": {"$set": ["v" * 513]}}), "value_too_long profileData.a"),
    ("2.4 items of lists", profile({"a": [str(n) for n in range(101)]}), "list_too_long profileData.a"),
    ("2.4 the word Charged", event("charged", {}), "misspelt_name evtName"),
    ("2.5 Amount", charged(Amount="9.50"), "amount_not_number evtData.Amount"),
    ("2.5 Charged ID", charged(ChargedID="1"), "misspelt_field evtData.ChargedID"),
    ("2.5 50 items", charged(Items=[{"a": 1}] * 51), "too_many_items evtData.Items"),
    ("2.5 values of items", charged(Items=[{"a": 1}, {"b.": None}]),
     "key_characters evtData.Items[1].b., null_value evtData.Items[1].b."),
    ("4.1 an objectId is made by an SDK", device("0f8fad5b-d9cb-469f-a165-70867728950e"), "ghost_profile objectId"),
    ("4.1 an objectId has its prefix", device("__g" + "a" * 31), "ghost_profile objectId"),
    ("4.1 an Apple id is lower-case", device("-v" + "B2" * 16), "ghost_profile objectId"),
    ("4.1 an id of zeros is none", device("-v" + "0" * 32), "shared_device objectId"),
    ("4.1 an ad id with zeros is none", device("__g" + "a" * 20 + "0" * 12), "shared_device objectId"),
    ("4.1 a missing id is none", event(identity="undefined"), "placeholder_identity identity"),
    ("4.1 a missing id is none in Python", profile({}, identity="None"), "placeholder_identity identity"),
    ("4.1 a CleverTap ID is no identity", event(identity=GAID), "device_as_identity identity"),
    ("5 tokens have no other root key", token() | {"identity": "u1"}, "root_key_ignored identity"),
    ("5 web push has keys", token(WEB, type="chrome"), "token_without_keys tokenData.keys"),
]  # fmt: skip

FINE = [
    *(device(made) for made in (GAID, IDFV, WEB, "__" + "a" * 32, "__hMy.Id", "-hMy.Id", "-" + "a" * 32, "_w_my-id")),
    event(data={"a": "$D_1795000000", "b": "$D_-86400", "c": "$D_253402214400", "d": 1.5, "e": False, "f": " x"}),
    event(data={"not a date": "2026-13-23", "a week": "2026-W47-1", "a year": "2026", "a sum": "12.50"}),
    event("x" * 512, {"k" * 120: "v" * 512}),
    charged(**{"Amount": 9.5, "Currency": "EUR", "Charged ID": "1", "Items": [{"Name": "a"}] * 50}),
    profile({"Name": "A", "Email": "a@b.example", "Phone": "+35922333232", "DOB": "$D_643852800", "Age": 18}),
    profile({"Gender": "O", "Photo": "https://a.example/b.png", "Tz": "Europe/Sofia", "MSG-dndPhone": True}),
    profile({"category-unsubscribe": {"email": ["News"]}, "a": ["b", "c"], "d": {"$set": ["e"]}, "f": {"$delete": 1}}),
    charged(**{"Charged ID": "2026-11-23"}),
    profile({"Name": "2026-11-23", "GPID": "2026-11-23", "Customer Type": "$D_gold"}),
    profile({"n": {"$incr": 1}, "identity": "u2", "Email": {"$delete": True}, "Birthday": "in May"}),
    profile({f"key {n}": n for n in range(256)} | {"Name": "A"}),
    token(WEB, type="chrome", keys={"p256dh": "x", "auth": "y"}),
]


@pytest.mark.parametrize(("rule", "record", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_broken_rule_is_refused(sandbox: SandboxServer, rule: str, record: Any, code: int) -> None:
    answer = sandbox.upload(record).json()
    assert (answer["processed"], [refused["code"] for refused in answer["unprocessed"]]) == (0, [code])
    assert sandbox.damage() == []


@pytest.mark.parametrize(("rule", "record", "expected"), DAMAGED, ids=[row[0] for row in DAMAGED])
def test_a_broken_rule_is_silent_damage(
    sandbox: SandboxServer, rule: str, record: dict[str, Any], expected: str
) -> None:
    assert sorted(f"{one.code} {one.field}" for one in damage_of(record)) == expected.split(", ")
    assert sandbox.upload(record).json()["status"] == "success"
    assert sorted(f"{one['code']} {one['field']}" for one in sandbox.damage()) == expected.split(", ")


@pytest.mark.parametrize("record", FINE)
def test_what_keeps_the_rules_is_neither_refused_nor_damaged(sandbox: SandboxServer, record: dict[str, Any]) -> None:
    assert damage_of(record) == []
    assert sandbox.upload(record).json()["status"] == "success"
    assert sandbox.damage() == []


@pytest.mark.parametrize("record", [None, 7, "text", [], {}, {"type": []}, event(7), event(data=7, ts="x")])  # type: ignore[arg-type]
def test_any_object_can_be_asked_for_its_damage(record: object) -> None:
    assert isinstance(damage_of(record), list)


def test_every_code_has_a_row() -> None:
    known = {rule.code for rule in vars(refusals).values() if isinstance(rule, refusals.Refusal)} | {512, 522}
    assert {code for _, _, code in REFUSED} == known
    shown = {entry.split()[0] for _, _, expected in DAMAGED for entry in expected.split(", ")}
    of_accounts = {"profile_after_erasure", "people_merged", "too_many_event_names", "too_many_profile_keys"}
    assert shown | of_accounts == CATALOGUE.keys()


def test_every_rule_stands_in_the_document() -> None:
    text = DOCUMENT.read_text()
    sections = set(re.findall(r"^#+ (\d(?:\.\d)?) ", text, re.MULTILINE))
    assert {rule.split()[0] for rule, *_ in [*REFUSED, *DAMAGED]} <= sections
    assert [code for code in CATALOGUE if f"`{code}`" not in text] == []
    assert [code for _, _, code in REFUSED if str(code) not in text] == []
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) >= CATALOGUE.keys()
