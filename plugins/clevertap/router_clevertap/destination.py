"""The destination type `clevertap`: map, send, turn the answer into outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import orjson

from router_clevertap.choices import OptOutChoice
from router_clevertap.client import PASSCODE_HEADER, answered_body, merge, outcomes_from_answer, request_for
from router_clevertap.device import MODULE
from router_clevertap.erasure import delete_profiles
from router_clevertap.linking import Linking, Links, linkings
from router_clevertap.mapping import RecordMapper
from router_clevertap.marks import Marks
from router_clevertap.plan import Call, Plan, plan_of
from router_clevertap.regions import host_of, is_known
from router_clevertap.settings import ClevertapConfiguration, ClevertapConnection, mobile_kit_settings, web_kit_settings
from router_core.components import (
    Accepts,
    Destination,
    DestinationContext,
    DestinationType,
    Forgotten,
    Kit,
    Limits,
    Subject,
)
from router_core.errors import CallRefused, DeliveryError, Throttled, Unavailable
from router_core.events import DeviceIdentity, EventType, Platform, UserIdentity
from router_core.outcomes import Outcome
from router_core.records import Record

_UPLOAD_SECONDS: Final = 25.0
_DELIVER_SECONDS: Final = 60.0  # for all uploads of one `deliver`
# A restricted name is refused (code 513, recorded answer), so this stores nothing even where dry runs are unknown.
_PROBE: Final = {"type": "event", "identity": "router-check", "evtName": "App Launched", "evtData": {}}


class ClevertapDestination(Destination):
    """One connection's way to a CleverTap account."""

    def __init__(self, context: DestinationContext) -> None:
        self._context = context
        self._settings: ClevertapConfiguration = context.settings
        self._links = Links(context.store)
        self._suppressed = Marks("suppressed", context.store)
        self._mapper = RecordMapper(
            context.connection_settings,
            self._settings.max_event_properties,
            links=self._links,
            suppressed=self._suppressed,
        )

    async def open(self) -> None:
        """Warns of a region that this version does not know; CleverTap adds some now and then."""
        region = self._settings.region
        if not is_known(region) and self._settings.base_url is None:
            self._context.log.warning("clevertap_region_unknown", region=region, host=host_of(region))

    async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Upload the records; see `Destination.deliver`.

        If a later upload of the same call fails as a whole, or could be cut off by the call's time limit, what the
        earlier ones settled is reported and the rest is left to be retried.
        """
        last_start = self._context.clock.monotonic() + _DELIVER_SECONDS - _UPLOAD_SECONDS
        await self._recall(records)
        plan = plan_of(records, self._mapper, self._settings.records_per_call)
        links = linkings(plan.links, [(call.record_ids, call.items) for call in plan.calls])
        fresh = self._links.reserve({device: linking.person for device, linking in links.items()})
        self._count(plan)
        sent: dict[str, Outcome] = {}
        uploaded = 0  # so many uploads may have been taken, all or in part
        try:
            await self._keep_opt_outs()
            for number, call in enumerate(plan.calls):
                if number > 0 and self._context.clock.monotonic() > last_start:  # cut off, the outcomes would be lost
                    plan.drop_unfinished(number, sent)
                    break
                try:
                    uploaded = number + 1
                    merge(sent, await self._upload(call))
                except DeliveryError as error:
                    if not isinstance(error, Unavailable):  # refused as a whole
                        uploaded = number
                    if number == 0:
                        raise
                    plan.drop_unfinished(number, sent)
                    break
        finally:
            self._links.release([device for device in fresh if links[device].upload >= uploaded])
        # A device whose link was refused is free again. If nobody knows whether it was, only its person may link it.
        self._links.release([device for device in fresh if links[device].was_refused(sent)])
        await self._keep_links(links, plan.linked(list(sent.values())))
        return plan.with_followers([*plan.settled, *sent.values()])

    async def _recall(self, records: Sequence[Record]) -> None:
        """Bring into memory what mapping asks of the users of these records."""
        connection: ClevertapConnection = self._context.connection_settings
        suppresses = connection.opt_out is OptOutChoice.SUPPRESS
        batch = None
        for record in records:
            if record.batch is batch:
                continue
            batch = record.batch
            if batch.integration_attributes is None and not connection.link_derived_ids and not suppresses:
                continue  # nearly all batches: there is nothing to ask
            found = self._mapper.found(batch)
            if found.device:
                await self._links.recall([found.device])
            if suppresses and found.root is not None:
                await self._suppressed.recall([found.root.value])

    async def _keep_opt_outs(self) -> None:
        """Write down opt-outs before anything is sent. Raises `Unavailable` if that is not possible."""
        try:
            await self._suppressed.flush()
        except Exception as error:
            raise Unavailable(f"Opt-outs could not be written down: {type(error).__name__}.") from error

    async def _keep_links(self, links: Mapping[str, Linking], taken: Collection[str]) -> None:
        """Write down what is linked. An error costs no more than a link that is sent again."""
        self._links.linked({device: links[device].person for device in taken})
        try:
            await self._links.flush()
        except Exception as error:  # whatever it is: what CleverTap has taken must be reported
            self._context.log.warning("clevertap_links_not_kept", error=type(error).__name__)

    async def _upload(self, call: Call) -> list[Outcome]:
        request = request_for(self._settings, call.items)
        answer = await self._context.http.request(
            request.method, request.url, headers=request.headers, content=request.content, timeout=_UPLOAD_SECONDS
        )
        return outcomes_from_answer(answer, call.record_ids, call.items, self._context.clock.now())

    async def erase(self, subject: Subject) -> Forgotten:
        """Delete the person's profiles; see `erasure`."""
        return await delete_profiles(subject, self._context, self._links)

    def _count(self, plan: Plan) -> None:
        for code, count in Counter(note.code for _, note in plan.notes).items():
            self._context.telemetry.count("altered_values", count, connection=self._context.name, code=code)

    def preview(self, records: Sequence[Record]) -> Sequence[Mapping[str, Any]]:
        """The uploads, with the notes on what was changed; then one entry for what is not sent, if there is any."""
        plan = plan_of(records, self._mapper, self._settings.records_per_call)
        previews = [self._preview(plan, call) for call in plan.calls]
        unsent = [_plain(outcome) | _notes(plan, {outcome.record_id}) for outcome in plan.settled]
        unsent += [
            {"record": one, "code": "same_profile", "follows": list(led.leaders)} | _notes(plan, {one})
            for one, led in plan.followers.items()
            if not led.has_own
        ]
        return [*previews, {"not_sent": unsent}] if unsent else previews

    def _preview(self, plan: Plan, call: Call) -> Mapping[str, Any]:
        request = request_for(self._settings, call.items)
        sent = frozenset(call.record_ids)
        return {
            "method": request.method,
            "url": request.url,
            "headers": {**request.headers, PASSCODE_HEADER: "***"},
            "body": orjson.loads(request.content),
            "records": call.record_ids,
            **_notes(plan, sent),
        }

    async def check(self) -> None:
        """A dry run of one record. Raises `InvalidCredentials` naming the setting to mend, or `Unavailable`."""
        request = request_for(self._settings, [_PROBE], dry_run=True)
        answer = await self._context.http.request(
            request.method, request.url, headers=request.headers, content=request.content, timeout=_UPLOAD_SECONDS
        )
        try:
            answered_body(answer, self._context.clock.now())
        except (Throttled, CallRefused) as problem:
            raise Unavailable(f"{problem} The settings could not be proved.") from problem


def _notes(plan: Plan, records: Collection[str]) -> dict[str, Any]:
    return {
        "notes": [{"record": one, "code": note.code, "key": note.key} for one, note in plan.notes if one in records]
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "record": outcome.record_id,
        "outcome": outcome.disposition.value,
        "code": outcome.code,
        "message": outcome.message,
    }


def kit_types_from_here(settings: ClevertapConnection) -> Collection[EventType]:
    """The kit's event types that a connection sends from here all the same."""
    types = set()
    if settings.forward_push_registrations:
        types.add(EventType.PUSH_REGISTRATION)
    if settings.opt_out is not OptOutChoice.KIT_ONLY:
        types.add(EventType.OPT_OUT)
    return types


def _limits(settings: ClevertapConfiguration) -> Limits:
    return Limits(
        records=settings.records_per_call,
        calls_in_flight=settings.calls_in_flight,
        timeout=timedelta(seconds=_DELIVER_SECONDS),
    )


CLEVERTAP: Final = DestinationType(
    name="clevertap",
    title="CleverTap",
    summary="Events and profiles through CleverTap's upload API.",
    create=ClevertapDestination,
    configuration_settings=ClevertapConfiguration,
    connection_settings=ClevertapConnection,
    accepts=Accepts(
        platforms=frozenset(
            {
                Platform.ANDROID,
                Platform.DATA_FEEDS,
                Platform.IOS,
                Platform.TVOS,
                Platform.SMART_TV,
                Platform.WEB,
            }
        ),
        event_types=frozenset(
            {
                EventType.CUSTOM_EVENT,
                EventType.COMMERCE_EVENT,
                EventType.SCREEN_VIEW,
                EventType.USER_ATTRIBUTE_CHANGE,
                EventType.USER_IDENTITY_CHANGE,
            }
        ),
        profile_updates=True,
        user_identities=frozenset(
            {
                UserIdentity.CUSTOMER_ID,
                UserIdentity.EMAIL,
                UserIdentity.FACEBOOK,
                UserIdentity.GOOGLE,
                UserIdentity.MOBILE_NUMBER,
            }
        ),
        device_identities=frozenset(DeviceIdentity),
    ),
    limits_for=_limits,
    erases=True,
    kit=Kit(
        module_id=MODULE,
        name="CleverTap",
        event_types=frozenset(
            {
                EventType.APPLICATION_STATE_TRANSITION,
                EventType.OPT_OUT,
                EventType.PUSH_MESSAGE,
                EventType.PUSH_REGISTRATION,
            }
        ),
        also_from_here=kit_types_from_here,
        web_settings=web_kit_settings,
        mobile_settings=mobile_kit_settings,
    ),
)
"""What the plugin announces."""
