"""Push registrations and opt-outs, which only kits forward unless a setting says otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
from router_clevertap.destination import CLEVERTAP, ClevertapDestination
from router_clevertap.mapping import RecordMapper
from router_clevertap.plan import TOKENS_PER_CALL, plan_of
from router_clevertap.settings import ClevertapConnection

from router_core.components import HttpAnswer
from router_core.errors import Unavailable
from router_core.events import Platform
from router_core.records import Record
from router_core.selection import Selection

Make = Callable[..., Record]
HEX = "0123456789abcdef0123456789abcdef"
SILENT = {"MSG-email": False, "MSG-push": False, "MSG-sms": False, "MSG-whatsapp": False}


def device(id: str) -> dict[str, Any]:
    return {"135": {"clevertap_id_integration_setting": id}}


@pytest.mark.parametrize(
    ("event_type", "settings", "code"),
    [
        ("push_registration", {}, "kit_only"),
        ("push_registration", {"opt_out": "suppress"}, "kit_only"),
        ("push_registration", {"forward_push_registrations": True}, None),
        ("opt_out", {}, "kit_only"),
        ("opt_out", {"opt_out": "unsubscribe"}, None),
        ("opt_out", {"opt_out": "suppress"}, None),
        ("push_message", {"opt_out": "suppress", "forward_push_registrations": True}, "kit_only"),
        ("application_state_transition", {}, "kit_only"),
    ],
)
def test_what_only_kits_forward_is_skipped(record: Make, event_type: str, settings: Any, code: str | None) -> None:
    skip = Selection(CLEVERTAP, ClevertapConnection(**settings), Platform.ANDROID).reason(record(event_type, {}))
    assert (skip and skip[0]) == code


@pytest.mark.parametrize(
    ("id", "event", "end"),
    [
        (f"__{HEX}", {"register": True, "registration_token": "t-1"}, ("t-1", "fcm")),
        (f"-v{HEX}", {"register": True, "registration_token": " t-1 "}, ("t-1", "apns")),
        (f"-v{HEX}", {"registration_token": "t-1"}, ("t-1", "apns")),
        (HEX, {"register": True, "registration_token": "t-1"}, "web_token"),
        (f"__{HEX}", {"register": False, "registration_token": "t-1"}, "token_stays"),
        (f"__{HEX}", {"register": True}, "nothing_to_say"),
        ("", {"register": True, "registration_token": "t-1"}, "no_clevertap_id"),
    ],
)
def test_a_push_registration_becomes_a_token_of_its_device(record: Make, id: str, event: Any, end: Any) -> None:
    settings = ClevertapConnection(forward_push_registrations=True, link_derived_ids=True)
    made = record(
        "push_registration", event, integration_attributes=device(id), device_info={"android_advertising_id": HEX}
    )
    mapped = RecordMapper(settings).map(made)
    if isinstance(end, str):
        assert mapped.outcome is not None
        assert (mapped.outcome.disposition, mapped.outcome.code) == ("skipped", end)
    else:
        token, kind = end
        assert mapped.items == ({"type": "token", "objectId": id, "tokenData": {"id": token, "type": kind}},)


def test_no_upload_has_more_tokens_than_cleverTap_takes(record: Make) -> None:
    mapper = RecordMapper(ClevertapConnection(forward_push_registrations=True))
    event = {"register": True, "registration_token": "t"}
    records = [
        record("push_registration", event, id=f"{n}.0", integration_attributes=device(f"__{HEX}"))
        for n in range(TOKENS_PER_CALL + 1)
    ]
    records.insert(0, record(data={"event_name": "A"}, id="x"))
    assert [len(call.items) for call in plan_of(records, mapper, 1000).calls] == [TOKENS_PER_CALL + 1, 1]


@pytest.mark.parametrize(
    ("is_opted_out", "data"), [(True, SILENT), ("true", SILENT), (False, None), (None, None), ("", None)]
)
def test_an_opt_out_unsubscribes_and_an_opt_in_does_not_subscribe(record: Make, is_opted_out: Any, data: Any) -> None:
    settings = ClevertapConnection(opt_out="unsubscribe")  # type: ignore[arg-type]
    mapped = RecordMapper(settings).map(record("opt_out", {"is_opted_out": is_opted_out}))
    assert [item["profileData"] for item in mapped.items] == ([data] if data else [])
    assert mapped.outcome is None or mapped.outcome.code == "nothing_to_say"


async def test_suppression_holds_until_an_opt_in_also_after_a_restart(
    context: Any, record: Make, script: Any, answer: Callable[..., HttpAnswer]
) -> None:
    http = script(*[answer({"status": "success"})] * 2)
    made = context(http, connection={"opt_out": "suppress"})
    event = {"event_name": "A"}
    records = [
        record(data=event, id="1.0"),
        record("opt_out", {"is_opted_out": True}, id="1.1"),
        record(data=event, id="1.2"),
        record(data=event, id="2.0", user_identities={"customer_id": "other"}),
    ]
    ends = {o.record_id: o.code for o in await ClevertapDestination(made).deliver(records)}
    assert ends == {"1.0": "", "1.1": "", "1.2": "opted_out", "2.0": ""}
    again = ClevertapDestination(made)
    later = [record(data=event, id="3.0"), record("opt_out", {}, id="3.1"), record(data=event, id="3.2")]
    ends = {o.record_id: o.code for o in await again.deliver(later)}
    assert ends == {"3.0": "opted_out", "3.1": "nothing_to_say", "3.2": ""}
    assert all("cust-1" not in key for key in made.store.items)


async def test_an_opt_out_that_cannot_be_kept_waits(
    context: Any, record: Make, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = context(script(), connection={"opt_out": "suppress"})

    async def full(items: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(made.store, "put", full)
    with pytest.raises(Unavailable, match="Opt-outs"):
        await ClevertapDestination(made).deliver([record("opt_out", {"is_opted_out": True})])
