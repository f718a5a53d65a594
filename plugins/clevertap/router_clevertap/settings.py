"""Settings of a CleverTap account, and of one connection to it."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from router_clevertap import phones
from router_clevertap.choices import (
    NestedValues,
    NullAttributes,
    OptOutChoice,
    ScreenViewName,
    UserId,
    user_id_from_text,
)
from router_clevertap.regions import host_of, region_from_text
from router_core.components import ConfigurationSettings, ConnectionSettings, setting
from router_core.events import Platform

_WHERE = "In CleverTap's dashboard it stands under Settings → Project"
_ACCOUNT_MEND = f"The Account ID is empty or has characters that an ID cannot have. {_WHERE} (Project ID)."
_PASSCODE_MEND = f"The Passcode is empty or has characters that a passcode cannot have. {_WHERE} → Passcodes."


def _account_id(text: str) -> str:
    return _header_text(text, _ACCOUNT_MEND)


def _passcode(secret: SecretStr) -> SecretStr:
    return SecretStr(_header_text(secret.get_secret_value(), _PASSCODE_MEND))


def _header_text(text: str, mend: str) -> str:
    """Text that can be sent as a header, without the line end that a secret from a file often has."""
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError(mend)
    return text


def _base_url(text: str | None) -> str | None:
    """Raises ValueError unless the text is an http or https URL without credentials, query and fragment."""
    if text is None or not text.strip():
        return None
    text = text.strip()
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text would repeat a part of the value
        is_url = False
    if not is_url or not text.isprintable() or " " in text:
        raise ValueError("Base URL must look like https://host or http://host:port.")
    if "@" in parts.netloc:
        raise ValueError("Base URL must not hold credentials; they go into Account ID and Passcode.")
    if "?" in text or "#" in text:
        raise ValueError("Base URL must not have a query or a fragment.")
    return text.rstrip("/")


class ClevertapConfiguration(ConfigurationSettings):
    """One CleverTap account."""

    account_id: Annotated[str, AfterValidator(_account_id)] = setting(
        title="Account ID", help="CleverTap's Project ID: Settings → Project in its dashboard.", example="TEST-123-456Z"
    )
    passcode: Annotated[SecretStr, AfterValidator(_passcode)] = setting(
        title="Passcode", help="A passcode of the project: Settings → Project → Passcodes in CleverTap's dashboard."
    )
    account_token: SecretStr | None = setting(
        None, title="Account Token", help="CleverTap's Project Token. Only kits in apps use it, never the server."
    )
    region: Annotated[str, AfterValidator(region_from_text)] = setting(
        "", title="Region",
        help="Region of the account, the first part of the dashboard's address: eu1, in1, sg1, us1, aps3, mec1, sk1. "
        "Empty: Europe.",
        example="in1",
    )  # fmt: skip
    base_url: Annotated[str | None, AfterValidator(_base_url)] = setting(
        None, title="Base URL", help="In place of the region's host: a proxy or the sandbox.",
        example="http://127.0.0.1:8901",
    )  # fmt: skip
    calls_in_flight: int = setting(
        3, title="Calls in flight", help="Uploads at once. CleverTap refuses more than 15 per account.", ge=1, le=15
    )
    records_per_call: int = setting(
        1000, title="Records per call", help="Most records in one upload; CleverTap takes 1000.", ge=1, le=1000
    )
    max_event_properties: int = setting(
        100,
        title="Properties per event",
        help="CleverTap refuses an event with more. 100 unless CleverTap has raised it for the account.",
        ge=1,
        le=1000,
    )

    @property
    def api_url(self) -> str:
        """Where the API is, without a slash at the end."""
        return self.base_url or f"https://{host_of(self.region)}"


class ClevertapConnection(ConnectionSettings):
    """One input's connection to a CleverTap account. The first seven say who a record is about, in their order."""

    user_id: Annotated[UserId, BeforeValidator(user_id_from_text)] = setting(
        UserId.CUSTOMER_ID, title="User ID", help="The identity that is sent as CleverTap's `identity`.",
        example="customer_id",
    )  # fmt: skip
    use_clevertap_id: bool = setting(
        True,
        title="Use CleverTap ID",
        help="Without that identity, take the CleverTap ID that mParticle's CleverTap kit left in the batch.",
    )
    derive_clevertap_id: bool = setting(
        False,
        title="Derive CleverTap ID",
        help="Without either, take the CleverTap ID that CleverTap's SDK would make of the device's ids. It is right "
        "only for the first user of an install, and only for apps that let the SDK use these ids.",
    )
    fall_back_to_other_identities: bool = setting(
        False,
        title="Fall back to other identities",
        help="Without any of these, take email or phone as `identity`, then the Facebook or Google ID.",
    )
    fall_back_to_mpid: bool = setting(
        False, title="Fall back to MPID", help="At last, take mParticle's own id of the user as `identity`."
    )
    link_anonymous: bool = setting(
        True,
        title="Link anonymous profiles",
        help="Give the profile of a CleverTap ID the identity of the first person who is seen with it.",
    )
    link_derived_ids: bool = setting(
        False, title="Link derived IDs", help="Link derived CleverTap IDs too. On shared devices this merges people."
    )
    phone_region: Annotated[str, AfterValidator(phones.region_from_text)] = setting(
        "", title="Phone region",
        help="Country of phone numbers that come without a country code, in two letters. Empty: they are left out.",
        example="IN",
    )  # fmt: skip
    screen_view_name: ScreenViewName = setting(
        ScreenViewName.PREFIXED,
        title="Screen view name",
        help="`prefixed`: `Screen Viewed Home`; CleverTap forbids the colon. `bare`: `Home`.",
    )
    nested_values: NestedValues = setting(
        NestedValues.JSON_TEXT,
        title="Nested values",
        help="Objects within attributes become `json_text`, or `flatten` gives each of their values a key of its own. "
        "Lists within events always become JSON text.",
    )
    convert_dates: bool = setting(
        True,
        title="Convert dates",
        help="Send ISO dates and times in attributes as CleverTap's dates; otherwise they are plain text there.",
    )
    null_attributes: NullAttributes = setting(
        NullAttributes.BY_SOURCE,
        title="Attributes without a value",
        help="User attributes that are null: `tag` sends them as `true`, `leave_out` does not send them, `by_source` "
        "sends those of SDKs, which write tags so, and leaves out those of servers.",
    )
    forward_push_registrations: bool = setting(
        False,
        title="Forward push registrations",
        help="Send push tokens of apps that use CleverTap's SDK; otherwise only the kit does. Needs the CleverTap ID "
        "in the batch.",
    )
    opt_out: OptOutChoice = setting(
        OptOutChoice.KIT_ONLY,
        title="Opt-out",
        help="`kit_only`: only the kit handles it. `unsubscribe`: the profile takes no more messages. `suppress`: "
        "also, nothing more of this user is sent until an opt-in.",
    )
    forward_web_requests_server_side: bool = setting(
        True,
        title="Forward Web Requests Server Side",
        help="Send what web pages report from here. If off, the CleverTap kit in the page sends it.",
        platforms={Platform.WEB},
    )


_MPARTICLE_SPELLING: Final = {"customer_id": "customerId"} | {f"other_id_{n}": f"other{n}" for n in range(2, 11)}


def web_kit_settings(configuration: ClevertapConfiguration, connection: ClevertapConnection) -> dict[str, str]:
    """The settings that mParticle's CleverTap web kit reads, by its names. None of them is secret.

    The kit knows only `"True"` and `"False"` (mParticle web kit source).
    """
    return {
        "accountID": configuration.account_id,
        "region": configuration.region,
        "forwardWebRequestsServerSide": str(connection.forward_web_requests_server_side),
    }


def mobile_kit_settings(configuration: ClevertapConfiguration, connection: ClevertapConnection) -> dict[str, str]:
    """The settings that mParticle's CleverTap kits for Android and iOS read, by their names.

    The account token is meant for apps; without one the kits refuse to start (their source). The passcode stays here.
    """
    token = configuration.account_token
    return {
        "AccountID": configuration.account_id,
        "AccountToken": token.get_secret_value() if token is not None else "",
        "Region": configuration.region,
        "userIdField": _MPARTICLE_SPELLING.get(connection.user_id, connection.user_id.value),
    }
