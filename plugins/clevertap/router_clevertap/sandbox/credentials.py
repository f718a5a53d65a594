"""Who is calling: the three headers CleverTap asks for."""

from collections.abc import Iterable, Mapping
from hmac import compare_digest

from router_clevertap.sandbox import answers
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.state import Account

Headers = Iterable[tuple[bytes, bytes]]


def account_of(headers: Headers, accounts: Mapping[str, Account], *, has_body: bool) -> Account | Answer:
    """The account a call belongs to, or the answer that refuses the call: 401, or 400 for the Content-Type.

    Official documentation, Get User Profiles: a call without a body needs no Content-Type.
    """
    account_id = passcode = content_type = b""
    for name, value in headers:
        if name == b"x-clevertap-account-id":
            account_id = value
        elif name == b"x-clevertap-passcode":
            passcode = value
        elif name == b"content-type":
            content_type = value
    account = accounts.get(account_id.decode("latin-1"))
    if account is None:
        return answers.UNKNOWN_ACCOUNT
    if not compare_digest(passcode, account.passcode.encode()):
        return answers.WRONG_PASSCODE
    if has_body and content_type.partition(b";")[0].strip().lower() != b"application/json":
        return answers.failed(400, "Content-Type must be application/json")
    return account
