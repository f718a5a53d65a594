"""Settings: regions, spellings, secrets."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from router_clevertap.choices import UserId
from router_clevertap.regions import REGIONS, host_of, is_known, region_from_text
from router_clevertap.settings import (
    ClevertapConfiguration,
    ClevertapConnection,
    mobile_kit_settings,
    web_kit_settings,
)

GOOD: dict[str, Any] = {"account_id": "TEST-123-456Z", "passcode": "s3cret-passcode"}


@pytest.mark.parametrize(
    ("text", "region", "host"),
    [
        ("", "", "api.clevertap.com"),
        ("none", "", "api.clevertap.com"),
        ("Default", "", "api.clevertap.com"),
        ("global", "", "api.clevertap.com"),
        ("EU", "eu1", "api.clevertap.com"),
        ("eu1", "eu1", "api.clevertap.com"),
        (" IN1 ", "in1", "in1.api.clevertap.com"),
        ("sg1", "sg1", "sg1.api.clevertap.com"),
        ("us1", "us1", "us1.api.clevertap.com"),
        ("aps3", "aps3", "aps3.api.clevertap.com"),
        ("mec1", "mec1", "mec1.api.clevertap.com"),
        ("sk1", "sk1", "sk1.api.clevertap.com"),
        ("xy12", "xy12", "xy12.api.clevertap.com"),
    ],
)
def test_a_region_names_its_host(text: str, region: str, host: str) -> None:
    settings = ClevertapConfiguration(**GOOD, region=text)
    assert settings.region == region
    assert host_of(settings.region) == host
    assert settings.api_url == f"https://{host}"


@pytest.mark.parametrize("text", ["in1.evil.example", "in1/", "a@b", "in1:80", "India", "in", "1in", "in123", "ïn1"])
def test_what_is_no_region_is_an_error_that_lists_the_known_ones(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClevertapConfiguration(**GOOD, region=text)
    assert all(code in str(caught.value) for code in REGIONS)
    assert text not in str(caught.value) or text == "in"


def test_a_region_that_only_looks_like_one_is_unknown() -> None:
    assert not is_known(region_from_text("xy1"))
    assert all(is_known(region) for region in ("", *REGIONS))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"account_id": " ", "passcode": "x"}, "Project ID"),
        ({"account_id": "A\r\nX-Other: 1", "passcode": "x"}, "Account ID"),
        ({"account_id": "A", "passcode": ""}, "Passcodes"),
        ({"account_id": "A", "passcode": "pä55"}, "Passcode"),
    ],
)
def test_bad_credentials_say_where_good_ones_stand(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClevertapConfiguration(**settings)  # type: ignore[arg-type]


def test_a_line_end_of_a_secret_file_falls_away() -> None:
    assert ClevertapConfiguration(account_id="A", passcode="abc\n").passcode.get_secret_value() == "abc"  # type: ignore[arg-type]


def test_secrets_show_neither_in_repr_nor_in_errors() -> None:
    settings = ClevertapConfiguration(**GOOD, account_token=SecretStr("t0ken-value"))
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert "t0ken" not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(ValidationError) as caught:
        ClevertapConfiguration(account_id="A", passcode=["s3cret-passcode"], calls_in_flight=99)  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://x", "x.example", "https://", "http://a:b@x", "http://user:s3cret", "http://x?a=1", "http://x#a",
            "http://[x", "http://x y"],
)  # fmt: skip
def test_a_base_url_is_a_plain_web_address(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClevertapConfiguration(**GOOD, base_url=url)
    assert "s3cret" not in str(caught.value)


def test_a_base_url_takes_the_place_of_the_host() -> None:
    settings = ClevertapConfiguration(**GOOD, region="in1", base_url="http://127.0.0.1:8901/")
    assert settings.api_url == "http://127.0.0.1:8901"


@pytest.mark.parametrize(
    "wrong", [{"calls_in_flight": 0}, {"calls_in_flight": 16}, {"records_per_call": 0}, {"records_per_call": 1001}]
)
def test_limits_stay_within_cleverTaps(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ClevertapConfiguration(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("spelling", "user_id"),
    [
        ("customerId", "customer_id"),
        ("customer_id", "customer_id"),
        ("CUSTOMERID", "customer_id"),
        ("Customer ID", "customer_id"),
        ("email", "email"),
        ("MPID", "mpid"),
        ("other", "other"),
        ("Other2", "other_id_2"),
        ("other10", "other_id_10"),
        ("other_id_3", "other_id_3"),
        ("phone", "mobile_number"),
        ("mobile_number", "mobile_number"),
        ("Facebook", "facebook"),
        ("google", "google"),
    ],
)
def test_a_user_id_is_read_in_all_spellings_of_mparticle(spelling: str, user_id: str) -> None:
    assert ClevertapConnection(user_id=spelling).user_id == user_id  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", ["", "twitter", "device", 5])
def test_an_unknown_user_id_is_an_error(spelling: object) -> None:
    with pytest.raises(ValidationError):
        ClevertapConnection(user_id=spelling)  # type: ignore[arg-type]


def test_connections_default_to_the_customer_id_and_to_sending_web_data_from_here() -> None:
    settings = ClevertapConnection()
    assert settings.user_id is UserId.CUSTOMER_ID
    assert settings.forward_web_requests_server_side is True
    extra = ClevertapConnection.model_fields["forward_web_requests_server_side"].json_schema_extra
    assert extra == {"platforms": ["web"]}


def test_the_web_kit_gets_its_settings_without_secrets() -> None:
    settings = ClevertapConfiguration(**GOOD, account_token=SecretStr("t0ken"), region="in1")
    connection = ClevertapConnection(user_id="other2", forward_web_requests_server_side=False)  # type: ignore[arg-type]
    assert web_kit_settings(settings, connection) == {
        "accountID": "TEST-123-456Z",
        "region": "in1",
        "forwardWebRequestsServerSide": "False",
    }


def test_the_mobile_kits_get_theirs_with_the_account_token_and_without_the_passcode() -> None:
    settings = ClevertapConfiguration(**GOOD, account_token=SecretStr("t0ken"), region="in1")
    connection = ClevertapConnection(user_id="other2")  # type: ignore[arg-type]
    assert mobile_kit_settings(settings, connection) == {
        "AccountID": "TEST-123-456Z",
        "AccountToken": "t0ken",
        "Region": "in1",
        "userIdField": "other2",
    }
    assert mobile_kit_settings(ClevertapConfiguration(**GOOD), connection)["AccountToken"] == ""
