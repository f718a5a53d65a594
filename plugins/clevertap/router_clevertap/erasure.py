"""CleverTap forgets a person: `POST /1/delete/profiles.json`, by identity and by the CleverTap IDs of the devices.

A profile that has no identity is reached by its CleverTap ID alone, so both go. CleverTap takes 100 of each in a call;
parallel deletions run into its limits, so the calls go one after the other. A CleverTap ID that this connection linked
to somebody else stays: the device has changed its user. Only the passcode of an admin may delete, and data that is sent
later would make the profile again (official documentation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import orjson

from router_clevertap.client import UploadRequest, answered_body, request_for
from router_clevertap.device import CLEVERTAP_ID, MODULE, given_clevertap_id
from router_clevertap.identity import RootFinder
from router_clevertap.linking import Links
from router_clevertap.phones import phone
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection
from router_core.components import DestinationContext, Forgotten, Subject
from router_core.errors import CallRefused, InvalidCredentials
from router_core.events import DeviceInfo, EventBatch, UserIdentity
from router_core.identifiers import spelled

IDS_PER_CALL: Final = 100
_SECONDS: Final = 25.0


async def delete_profiles(subject: Subject, context: DestinationContext, links: Links) -> Forgotten:
    """Delete the person's profiles, but not that of a device that is linked to somebody else, and forget the links.

    Raises `Throttled`, `Unavailable`, `InvalidCredentials` and `CallRefused`; then all may be called again.
    """
    settings: ClevertapConfiguration = context.settings
    identities, named = ids_of(subject, context.connection_settings)
    await links.recall(named)
    devices = [device for device in named if not links.is_of_somebody_else(device, identities)]
    for start in range(0, max(len(identities), len(devices)), IDS_PER_CALL):
        end = start + IDS_PER_CALL
        request = deletion_request(settings, identities[start:end], devices[start:end])
        answer = await context.http.request(
            request.method, request.url, headers=request.headers, content=request.content, timeout=_SECONDS
        )
        try:
            body = answered_body(answer, context.clock.now())
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{error} Only the passcode of an admin may delete profiles.") from None
        if body["status"] != "success":  # its text may name an id, so it stays here
            raise CallRefused("clevertap_delete", "CleverTap did not delete all profiles.")
    await links.forget(devices)
    left = len(named) - len(devices)
    detail = f"{left} CleverTap ID(s) left, as they are linked to somebody else" if left else ""
    return Forgotten(bool(identities or devices), detail)


def ids_of(subject: Subject, settings: ClevertapConnection) -> tuple[list[str], list[str]]:
    """The identities and the CleverTap IDs that records of the person could have had at their root.

    Also the CleverTap IDs of kits where the settings do not use them: the kit in the app made those profiles.
    `FBID` and `GPID` are left out, as CleverTap deletes by identity and CleverTap ID alone (official documentation).
    """
    batches = [EventBatch(mpid=mpid) for mpid in subject.mpids]
    for identity, values in subject.user_identities.items():
        batches += [EventBatch(user_identities={identity.value: value}) for value in values]
    phones = subject.user_identities.get(UserIdentity.MOBILE_NUMBER, ())
    numbers = _each_once(_e164(value, settings.phone_region) for value in phones)
    batches += [EventBatch(user_identities={UserIdentity.MOBILE_NUMBER.value: number}) for number in numbers]
    for kind, values in subject.device_identities.items():
        batches += [EventBatch(device_info=DeviceInfo(**{kind: value})) for value in values]
    kits = subject.integration_attributes.get(MODULE, {}).get(CLEVERTAP_ID, ())
    devices = [
        given_clevertap_id(EventBatch(integration_attributes={str(MODULE): {CLEVERTAP_ID: value}}))[0] for value in kits
    ]
    finder = RootFinder(settings)
    roots = [root for batch in batches if (root := finder.find(batch).root) is not None]
    identities = [root.value for root in roots if root.key == "identity"]
    devices += [root.value for root in roots if root.key == "objectId"]
    return _each_once(identities), _each_once(devices)


def deletion_request(
    settings: ClevertapConfiguration, identities: Sequence[str], devices: Sequence[str]
) -> UploadRequest:
    """One call, with at most 100 of each."""
    ids = {"identity": identities, "guid": devices}
    content = orjson.dumps({name: values for name, values in ids.items() if values})
    return replace(request_for(settings, ()), url=f"{settings.api_url}/1/delete/profiles.json", content=content)


def _e164(value: str, region: str) -> str:
    """The number as it is delivered, also of digits alone, which is how a request may name it; empty if it is none."""
    digits = spelled(UserIdentity.MOBILE_NUMBER.value, value)
    return phone(value, region) or phone(f"+{digits}") or ""


def _each_once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, values)))
