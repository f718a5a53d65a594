"""CleverTap forgets a person: `POST /1/delete/profiles.json`, by identity and by the CleverTap IDs of the devices.

A profile that has no identity is reached by its CleverTap ID alone, so both go. CleverTap takes 100 of each in a call;
parallel deletions run into its limits, so the calls go one after the other. Only the passcode of an admin may delete,
and data that is sent later would make the profile again (official documentation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import orjson

from router_clevertap.client import UploadRequest, answered_body, request_for
from router_clevertap.device import CLEVERTAP_ID, MODULE, given_clevertap_id
from router_clevertap.identity import RootFinder
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection
from router_core.components import Clock, HttpTransport, Subject
from router_core.errors import CallRefused, InvalidCredentials
from router_core.events import DeviceInfo, EventBatch

IDS_PER_CALL: Final = 100
_SECONDS: Final = 25.0


async def delete_profiles(
    subject: Subject,
    settings: ClevertapConfiguration,
    connection: ClevertapConnection,
    http: HttpTransport,
    clock: Clock,
) -> bool:
    """Delete the person's profiles. False if the connection knows no id of the person.

    Raises `Throttled`, `Unavailable`, `InvalidCredentials` and `CallRefused`; then all may be called again.
    """
    identities, devices = ids_of(subject, connection)
    for start in range(0, max(len(identities), len(devices)), IDS_PER_CALL):
        end = start + IDS_PER_CALL
        request = deletion_request(settings, identities[start:end], devices[start:end])
        answer = await http.request(
            request.method, request.url, headers=request.headers, content=request.content, timeout=_SECONDS
        )
        try:
            body = answered_body(answer, clock.now())
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{error} Only the passcode of an admin may delete profiles.") from None
        if body["status"] != "success":  # its text may name an id, so it stays here
            raise CallRefused("clevertap_delete", "CleverTap did not delete all profiles.")
    return bool(identities or devices)


def ids_of(subject: Subject, settings: ClevertapConnection) -> tuple[list[str], list[str]]:
    """The identities and the CleverTap IDs that records of the person could have had at their root.

    Also the CleverTap IDs of kits where the settings do not use them: the kit in the app made those profiles.
    `FBID` and `GPID` are left out, as CleverTap deletes by identity and CleverTap ID alone (official documentation).
    """
    batches = [EventBatch(mpid=mpid) for mpid in subject.mpids]
    for identity, values in subject.user_identities.items():
        batches += [EventBatch(user_identities={identity.value: value}) for value in values]
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


def _each_once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, values)))
