"""Why a record was refused: CleverTap's codes and texts.

Texts marked "recorded" were seen from the real service (contract recordings of tradeo/clevertap-ruby of 2017
and 2018, answers quoted in RudderStack's repositories of 2024). The missing blanks and the doubled full stops
are real. The other texts were never seen; they have the same form, and a sender should rely on the code
alone.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """One fault of one record. Only the first fault of a record is reported (recorded answers of 2018)."""

    code: int
    reason: str

    def text(self, number: int) -> str:
        """The text of the answer; `number` is the record's place in the request, counted from 1."""
        return f"{self.reason}Skipped record number : {number}"

    def entry(self, number: int, record: Any) -> dict[str, Any]:
        """One element of `unprocessed`. `record` is echoed as the server holds it, not as it was sent."""
        return {"status": "fail", "code": self.code, "error": self.text(number), "record": record}


def event_name(code: int, what: str) -> Refusal:
    return Refusal(code, f"Event Name is incorrect. ErrorCode: {code} - {what}. ")


def event_data(code: int, what: str) -> Refusal:
    return Refusal(code, f"Event data is incorrect. {code} - {what}.")


def profile_data(code: int, what: str) -> Refusal:
    return Refusal(code, f"Profile data is incorrect. {what}.")


def token_data(code: int, what: str) -> Refusal:
    return Refusal(code, f"Token data is incorrect. {what}.")


NO_EVENT_NAME = event_name(509, "Event name is mandatory")  # seen in third-party code
RESTRICTED_NAME = event_name(513, "Trying to raise a restricted system event")  # recorded, 2024
DISCARDED_NAME = event_name(528, "Trying to raise a discarded event")

GENDER = profile_data(514, "Gender needs to be M/F")  # recorded, 2017
EMAIL = profile_data(515, "Email is not valid")  # recorded, 2018
PHONE = profile_data(516, "Phone number is not valid")  # recorded, 2018
EMPLOYED = profile_data(517, "Employed needs to be Y/N")  # recorded, 2018
EDUCATION = profile_data(518, "Education needs to be School/College/Graduate.")  # recorded, 2018
MARRIED = profile_data(519, "Married needs to be Y/N")  # recorded, 2018
AGE = profile_data(520, "Age is invalid")  # recorded, 2018

# Recorded, 2017. The text spells the keys `fbId` and `gpId`, the documentation `FBID` and `GPID`.
NO_ID = Refusal(523, "'identity' or 'fbId' or 'gpId' or 'objectId' is necessary under 120 chars to identify the user. ")
# Two ids in one record are undocumented; refused by our choice.
SEVERAL_IDS = Refusal(523, "Only one of 'identity' or 'fbId' or 'gpId' or 'objectId' is allowed. ")
NEITHER = Refusal(524, "Data is neither event nor profile. ")
TIMESTAMP = Refusal(525, "Timestamp should be present in the Unix Epoch format. ")  # recorded, 2018
OBJECT_ID = Refusal(526, "'objectId' is not valid. ")

# Official documentation, API Errors, gives 531 and 535 the same meaning. Ours: 531 no data at all, 535 wrong
# types.
TOKEN_OBJECT_ID = token_data(530, "Invalid 'objectId'")
NO_TOKEN_DATA = token_data(531, "Invalid token data")
NO_TOKEN_ID = token_data(532, "Token 'id' is not present")
NO_TOKEN_TYPE = token_data(533, "Token 'type' is not present")
TOKEN_TYPE = token_data(534, "Token 'type' is not valid for 'objectId'")
TOKEN_DATA = token_data(535, "Invalid token data")


def nested(field: str) -> Refusal:
    """Recorded, 2024 (quoted in RudderStack's pull request 3048)."""
    what = f"Only Items can have a nested structure, incorrect nested structure for field : {field}"
    return event_data(512, what)


def too_many_properties(limit: int) -> Refusal:
    return event_data(522, f"Event properties limit exceeded, at most {limit} are allowed")


def injected(code: int, text: str | None = None) -> Refusal:
    """A refusal ordered through fault injection; 555 is the documented code of a passing server error."""
    what = text or ("Miscellaneous server error" if code == 555 else f"Error {code}")
    return Refusal(code, f"{what}. ")
