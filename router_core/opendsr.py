"""OpenDSR on the admin listener: erasures asked for over HTTP, in the shape that mParticle's API v3 has.

`POST /v3/requests`, `GET /v3/requests/{id}`, `GET /v3/requests?group_id=…`, `DELETE /v3/requests/{id}`,
`GET /v3/discovery`. There is no certificate, so answers carry no `X-OpenDSR-Signature`; there are no callbacks.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID

import orjson

from router_core.components import Route
from router_core.erasure import Conflict, Erasure, folded
from router_core.erasurefile import ErasureFile
from router_core.errors import InvalidBatch, LogError
from router_core.events import UserIdentity
from router_core.http import Handler, Request, Response, json_response
from router_core.identifiers import DEVICE_TYPES, MPID
from router_core.strictjson import strict_json

EXTENSION: Final = "opendsr.mparticle.com"
"""Where mParticle's clients put identities that OpenDSR has no names for."""
_OURS: Final = "router_core"
_VERSION: Final = "3.0"
_CONTROLLER: Final = "router"
_MOST_IDENTITIES: Final = 50
_LONGEST: Final = 4096
_EXPECTED_WITHIN: Final = 24 * 3600
_PATH: Final = "/v3/requests"
_LOCAL_HOST: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
_NOT_LOCAL: Final = (
    "Without an admin token, erasures are taken only at localhost, 127.0.0.1 or [::1], and the Host of this request is "
    "another. Set admin.token to ask under other names."
)

_NAMES: Final[Mapping[str, str]] = {
    "controller_customer_id": UserIdentity.CUSTOMER_ID.value,
    "email": UserIdentity.EMAIL.value,
    "android_id": "android_uuid",
    "ios_vendor_id": "ios_idfv",
    "roku_publishing_id": "roku_publisher_id",  # mParticle's table; its discovery has the other spelling
    **{name: name for name in DEVICE_TYPES if name not in ("android_uuid", "ios_idfv", "push_token", "amp_id",
                                                           "google_advertising_id")},
}  # fmt: skip
"""OpenDSR's identity types to ours."""
_EXTENDED: Final[Mapping[str, str]] = {
    MPID: MPID,
    **{identity.value: identity.value for identity in UserIdentity},
    **{f"other{n}": f"other_id_{n}" for n in range(2, 11)},
}
"""The same in the extension."""


class Refused(Exception):
    """The request ends here, with this answer in OpenDSR's error envelope."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


def opendsr_routes(folder: Path, allowed: Callable[[Request], bool], *, has_token: bool) -> Sequence[Route]:
    """The endpoints, for the erasures of one data folder. `allowed` says whether a request has the admin token.

    If there is none, only requests to this machine by its own names are taken: a page of a foreign site, whose name
    has been pointed at 127.0.0.1 (DNS rebinding), is of the same origin to a browser and could erase anybody.
    """
    requests = _Requests(folder)

    def guarded(methods: Mapping[str, Callable[[Request], Response]]) -> Handler:
        async def handle(request: Request) -> Response:
            answer = methods.get(request.method)
            try:
                if not has_token and not _is_to_this_machine(request):
                    raise Refused(403, "Forbidden", _NOT_LOCAL)
                if not allowed(request):
                    raise Refused(401, "Unauthorized", "Send the admin token, as Bearer or as Basic password.")
                if answer is None:
                    raise Refused(405, "MethodNotAllowed", f"Use {' or '.join(methods)}.")
                return answer(request)
            except Refused as error:
                headers = [(b"www-authenticate", b'Basic realm="router"')] if error.status == 401 else []
                headers += [(b"allow", ", ".join(methods).encode())] if error.status == 405 else []
                return json_response(error.status, _envelope(error), headers)

        return handle

    return [
        Route(path=_PATH, handle=guarded({"POST": requests.create, "GET": requests.of_group})),
        Route(path=f"{_PATH}/", prefix=True, handle=guarded({"GET": requests.status, "DELETE": requests.cancel})),
        Route(path="/v3/discovery", handle=guarded({"GET": _discovery})),
    ]


class _Requests:
    """What is done to the file. Each request opens it for itself, as there are few."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _opened(self) -> closing[ErasureFile]:
        try:
            return closing(ErasureFile(self._folder))
        except LogError as error:
            raise Refused(503, "Unavailable", str(error)) from None

    def create(self, request: Request) -> Response:
        """`POST /v3/requests`."""
        kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":  # no other type needs a browser's consent to come from a foreign page
            raise Refused(415, "UnsupportedMediaType", "Content-Type must be application/json.")
        wanted = _checked(request.body)
        with self._opened() as file:
            try:
                made = file.add(
                    wanted["id"],
                    wanted["identities"],
                    source="opendsr",
                    regulation=wanted["regulation"],
                    group_id=wanted["group_id"],
                    submitted_at_ms=wanted["submitted_at_ms"],
                )
            except Conflict as error:
                raise Refused(409, "Conflict", str(error)) from None
        answer: dict[str, Any] = {
            "controller_id": _CONTROLLER,
            "expected_completion_time": _time(made.received_at_ms + _EXPECTED_WITHIN * 1000),
            "received_time": _time(made.received_at_ms),
            "encoded_request": b64encode(request.body).decode(),
            "subject_request_id": made.id,
        }
        if wanted["ignored"]:
            answer["extensions"] = {_OURS: {"ignored": wanted["ignored"]}}
        return json_response(201, orjson.dumps(answer))

    def status(self, request: Request) -> Response:
        """`GET /v3/requests/{id}`."""
        with self._opened() as file:
            return json_response(200, orjson.dumps(_status(_found(file, request))))

    def of_group(self, request: Request) -> Response:
        """`GET /v3/requests?group_id=…`."""
        groups = parse_qs(request.query).get("group_id", [])
        if len(groups) != 1:
            raise Refused(400, "InvalidArgument", "Name one group_id.")
        with self._opened() as file:
            return json_response(200, orjson.dumps([_status(erasure) for erasure in file.of_group(groups[0])]))

    def cancel(self, request: Request) -> Response:
        """`DELETE /v3/requests/{id}`: only while the delivering process has not begun."""
        with self._opened() as file:
            found = _found(file, request)
            try:
                cancelled = file.cancel(found.id)
            except Conflict as error:
                raise Refused(409, "Conflict", str(error)) from None
        answer = {
            "controller_id": _CONTROLLER,
            "subject_request_id": cancelled.id,
            "received_time": _time(int(time.time() * 1000)),
            "api_version": _VERSION,
        }
        return json_response(202, orjson.dumps(answer))


def _is_to_this_machine(request: Request) -> bool:
    return _LOCAL_HOST.fullmatch(request.headers.get(b"host", b"").lower()) is not None


def _found(file: ErasureFile, request: Request) -> Erasure:
    try:
        return file.get(request.path.removeprefix(f"{_PATH}/").lower())
    except KeyError:
        raise Refused(404, "NotFound", "There is no request with this id.") from None


def _status(erasure: Erasure) -> dict[str, Any]:
    """OpenDSR's status, with that of each connection in the extension. Names nobody."""
    return {
        "controller_id": _CONTROLLER,
        "expected_completion_time": _time(erasure.received_at_ms + _EXPECTED_WITHIN * 1000),
        "subject_request_id": erasure.id,
        "group_id": erasure.group_id,
        "request_status": erasure.status.value,
        "api_version": _VERSION,
        "results_url": None,
        "extensions": {
            _OURS: {
                "batches_erased": erasure.batches,
                "connections": {
                    name: {"status": at.state.value, "detail": at.detail or None}
                    for name, at in erasure.connections.items()
                },
            }
        },
    }


def _discovery(request: Request) -> Response:
    answer = {
        "api_version": _VERSION,
        "supported_identities": [{"identity_type": name, "identity_format": "raw"} for name in sorted(_NAMES)],
        "supported_subject_request_types": ["erasure"],
        "processor_certificate": None,
        "extensions": {
            EXTENSION: {
                "supported_identities": [{"identity_type": n, "identity_format": "raw"} for n in sorted(_EXTENDED)]
            }
        },
    }
    return json_response(200, orjson.dumps(answer))


# --- checking ---------------------------------------------------------------------------------------------------------


def _checked(body: bytes) -> dict[str, Any]:
    """What the request says. Raises `Refused` 400 with the place, and never with a value."""
    try:
        document = strict_json(body)
    except InvalidBatch as error:
        raise _invalid(str(error)) from None
    if not isinstance(document, dict):
        raise _invalid("The request must be a JSON object.")
    kind = _one_of(document, "subject_request_type", ("erasure", "access", "portability"))
    if kind != "erasure":
        raise Refused(400, "Unsupported", f"subject_request_type {kind} is not supported; see /v3/discovery.")
    group = document.get("group_id")
    if group is not None and (not isinstance(group, str) or not 0 < len(group) <= _LONGEST):
        raise _invalid("group_id must be text.")
    version = document.get("api_version", _VERSION)
    if not isinstance(version, str) or version.split(".")[0] != "3":
        raise _invalid('api_version must be "3.0".')
    return {
        "id": _uuid(document.get("subject_request_id")),
        "regulation": _one_of(document, "regulation", ("gdpr", "ccpa")),
        "submitted_at_ms": _submitted(document.get("submitted_time")),
        "identities": _identities(document),
        "group_id": group,
        "ignored": [name for name in ("status_callback_urls",) if document.get(name)],
    }


def _one_of(document: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    value = document.get(name)
    if value not in known or not isinstance(value, str):
        raise _invalid(f"{name} must be one of {', '.join(known)}.")
    return value


def _uuid(value: Any) -> str:
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.version != 4 or str(found) != str(value).lower():
        raise _invalid("subject_request_id must be a UUID of version 4.")
    return str(found)


def _submitted(value: Any) -> int:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is None or found.tzinfo is None:
            raise ValueError
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise _invalid("submitted_time must be an RFC 3339 time with its zone.") from None


def _identities(document: Mapping[str, Any]) -> dict[str, list[str]]:
    extensions = document.get("extensions") or {}
    extension = extensions.get(EXTENSION) or {} if isinstance(extensions, dict) else None
    if not isinstance(extension, dict):
        raise _invalid("extensions must hold an object for each domain.")
    pairs = _pairs(document.get("subject_identities"), _NAMES, "subject_identities")
    pairs += _pairs(extension.get("subject_identities"), _EXTENDED, f'extensions."{EXTENSION}".subject_identities')
    if not 0 < len(pairs) <= _MOST_IDENTITIES:
        raise _invalid(f"subject_identities must name 1 to {_MOST_IDENTITIES} identities.")
    found = folded(pairs)
    if sum(map(len, found.values())) < len({(kind, value.strip()) for kind, value in pairs}):
        raise _invalid("subject_identities has a value that names nobody.")
    return found


def _pairs(identities: Any, names: Mapping[str, str], place: str) -> list[tuple[str, str]]:
    if identities is None:
        return []
    if not isinstance(identities, dict):
        raise _invalid(f"{place} must be an object: type to value and encoding.")
    pairs = []
    for number, (name, identity) in enumerate(identities.items(), 1):
        if name not in names:
            raise _invalid(f"{place}: the type of identity {number} is not supported; see /v3/discovery.")
        value = identity.get("value") if isinstance(identity, dict) else None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # an mpid
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
            raise _invalid(f"{place}.{name}.value must be text.")
        if identity.get("encoding", "raw") != "raw":
            raise _invalid(f"{place}.{name}.encoding must be raw.")
        pairs.append((names[name], value))
    return pairs


def _invalid(message: str) -> Refused:
    return Refused(400, "InvalidArgument", message)


def _envelope(error: Refused) -> bytes:
    domain = "Validation" if error.status == 400 else "Request"
    listed = [{"domain": domain, "reason": error.reason, "message": str(error)}]
    return orjson.dumps({"error": {"code": error.status, "message": str(error), "errors": listed}})


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
