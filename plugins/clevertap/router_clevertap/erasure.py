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
from router_clevertap.identity import CLEVERTAP_ID, MODULE, person_of, root_of
from router_clevertap.settings import ClevertapConfiguration, UserId
from router_core.components import Clock, HttpTransport, Subject
from router_core.errors import CallRefused, InvalidCredentials
from router_core.events import EventBatch

IDS_PER_CALL: Final = 100
_SECONDS: Final = 25.0


async def delete_profiles(
    subject: Subject, settings: ClevertapConfiguration, user_id: UserId, http: HttpTransport, clock: Clock
) -> bool:
    """Delete the person's profiles. False if the connection knows no id of the person.

    Raises `Throttled`, `Unavailable`, `InvalidCredentials` and `CallRefused`; then all may be called again.
    """
    identities, devices = identities_of(subject, user_id), clevertap_ids_of(subject)
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


def identities_of(subject: Subject, user_id: UserId) -> list[str]:
    """What the setting `user_id` makes of the person: the values that records had as `identity`."""
    batches = [EventBatch(mpid=mpid) for mpid in subject.mpids]
    batches += [
        EventBatch(user_identities={identity.value: value})
        for identity, values in subject.user_identities.items()
        for value in values
    ]
    return _each_once(person_of(batch, user_id) for batch in batches)


def clevertap_ids_of(subject: Subject) -> list[str]:
    """The CleverTap IDs that kits left in the person's batches, as far as records could have had them."""
    values = subject.integration_attributes.get(MODULE, {}).get(CLEVERTAP_ID, ())
    batches = [EventBatch(integration_attributes={str(MODULE): {CLEVERTAP_ID: value}}) for value in values]
    roots = [root_of(batch, UserId.CUSTOMER_ID)[0] for batch in batches]
    return _each_once(root.value for root in roots if root is not None)


def deletion_request(
    settings: ClevertapConfiguration, identities: Sequence[str], devices: Sequence[str]
) -> UploadRequest:
    """One call, with at most 100 of each."""
    ids = {"identity": identities, "guid": devices}
    content = orjson.dumps({name: values for name, values in ids.items() if values})
    return replace(request_for(settings, ()), url=f"{settings.api_url}/1/delete/profiles.json", content=content)


def _each_once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, values)))
