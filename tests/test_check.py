"""The check as a whole: every problem at its place with its mend, overrides, findings, masking, and the JSON Schema."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self, cast

import pluggy
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from router_core.check import Configuration, Finding, Severity, configuration_schema, load_configuration
from router_core.components import (
    Accepts,
    ConfigurationSettings,
    ConnectionSettings,
    DestinationType,
    Kit,
    SourceType,
    TransformType,
    setting,
)
from router_core.errors import ConfigurationError, Problem
from router_core.events import Platform
from router_core.plugins import PluginInfo, Plugins
from router_core.values import Duration

# --- a small partner --------------------------------------------------------------------------------------------------


class Region(StrEnum):
    EU1 = "eu1"
    SG1 = "sg1"


class Proxy(ConfigurationSettings):
    host: str = setting(title="Host", help="Host.")
    password: SecretStr | None = setting(None, title="Password", help="Password.")
    port: int = setting(3128, title="Port", help="Port.", ge=1)


class ByFile(ConfigurationSettings):
    kind: Literal["file"] = setting("file", title="Kind", help="Kind.")
    name: str = setting(title="Name", help="Name.")


class ByMemory(ConfigurationSettings):
    kind: Literal["memory"] = setting("memory", title="Kind", help="Kind.")


class Account(ConfigurationSettings):
    account_id: str = setting(title="Account", help="Account id.", example="TEST-1")
    passcode: SecretStr = setting(title="Passcode", help="Passcode.")
    region: Region = setting(Region.EU1, title="Region", help="Region.", example="eu1")
    retries: int = setting(3, title="Retries", help="Retries.", ge=0, le=10)
    wait: Duration = setting(timedelta(seconds=1), title="Wait", help="Wait.")
    labels: dict[str, str] = setting(default_factory=dict, title="Labels", help="Labels.")
    tags: list[str] | None = setting(None, title="Tags", help="Tags.")
    proxy: Proxy | None = setting(None, title="Proxy", help="Proxy.")
    cache: Annotated[ByFile | ByMemory, Field(discriminator="kind")] | None = setting(
        None, title="Cache", help="Cache."
    )
    code: str | int = setting("x", title="Code", help="Code.")

    @field_validator("account_id")
    @classmethod
    def _talkative(cls, value: str) -> str:
        if value.startswith("bad"):
            raise ValueError(f"{value!r} is a bad account")
        if value.startswith("wrong"):
            raise ValueError("must be an account of this year")
        if value == "explode":
            raise KeyError(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.account_id == "whole":
            raise ValueError(f"no account for {self.passcode.get_secret_value()}")
        return self


class Line(ConnectionSettings):
    user_id: Literal["customer_id", "email"] = setting("customer_id", title="User ID", help="Identity.")
    forward: bool = setting(False, title="Forward", help="Forward.", platforms={Platform.WEB})


class Enricher(ConfigurationSettings):
    key: SecretStr = setting(title="Key", help="Hash key.")


class Reading(ConfigurationSettings):
    topic: str = setting("events", title="Topic", help="Topic.")


def never(_: Any) -> Any:
    raise AssertionError("a check creates no component")


def make_plugins(*more: PluginInfo) -> Plugins:
    def words(name: str) -> dict[str, Any]:
        return {"name": name, "title": name.title(), "summary": name, "create": never}

    partner = PluginInfo(
        name="partner",
        distribution="router-partner",
        version="1.0",
        sources=[
            SourceType(**words("http_in"), needs_key=True, needs_secret=True, input_settings=Reading),
            SourceType(**words("pixel"), needs_key=True, channel="native"),
            SourceType(**words("open_in")),
            SourceType(**words("pages"), needs_key=True, channel="native"),
        ],
        transforms=[TransformType(**words("enrich"), settings=Enricher)],
        destinations=[
            DestinationType(
                **words("partner"),
                configuration_settings=Account,
                connection_settings=Line,
                accepts=Accepts(platforms={Platform.WEB, Platform.IOS}),
            ),
            DestinationType(**words("plain")),
            DestinationType(**words("open"), configuration_settings=Account, connection_settings=Line),
            DestinationType(
                **words("kitted"), configuration_settings=Account, kit=Kit(module_id=9, name="Kitted", event_types=())
            ),
            DestinationType(**words("future"), contract=99),
        ],
    )
    return Plugins(pluggy.PluginManager("router"), [partner, *more])


PLUGINS = make_plugins()

GOOD = """\
inputs:
  shop:
    source: http_in
    platform: web
    key: k1
    secret: ${env:SHOP_SECRET}
transforms:
  ids:
    transform: enrich
    settings: {key: "${env:HASH_KEY}"}
outputs:
  partner_eu:
    destination: partner
    settings:
      account_id: A1
      passcode: ${file:passcode}
      region: eu1
connections:
  shop_to_partner:
    input: shop
    output: partner_eu
    transforms: [ids]
    settings: {user_id: email}
"""
ENVIRON = {"SHOP_SECRET": "shop-secret", "HASH_KEY": "hash-key"}

Load = Callable[..., Configuration]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    (tmp_path / "passcode").write_text("pass-code\n", encoding="utf-8")

    def load(text: str = GOOD, environ: Mapping[str, str] | None = None, plugins: Plugins = PLUGINS) -> Configuration:
        file = tmp_path / "router.yaml"
        file.write_text(text, encoding="utf-8")
        return load_configuration(file, plugins=plugins, environ=ENVIRON | dict(environ or {}))

    return load


def problems_of(load: Load, *arguments: Any, **named: Any) -> list[Problem]:
    with pytest.raises(ConfigurationError) as raised:
        load(*arguments, **named)
    return list(raised.value.problems)


def changed(*edits: tuple[str, str]) -> str:
    text = GOOD
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_a_good_file_gives_types_and_parsed_settings(load: Load, tmp_path: Path) -> None:
    configuration = load()
    connection = configuration.connections["shop_to_partner"]
    assert connection.input is configuration.inputs["shop"]
    assert connection.input.type is PLUGINS.source("http_in")
    assert connection.input.platform is Platform.WEB
    assert connection.input.secret == SecretStr("shop-secret")
    assert connection.input.settings == Reading()
    assert connection.output.settings == Account(account_id="A1", passcode=SecretStr("pass-code"))
    assert [transform.settings.key.get_secret_value() for transform in connection.transforms] == ["hash-key"]
    assert connection.settings == Line(user_id="email")
    assert configuration.settings.log.path == tmp_path / "data"
    assert configuration.findings == ()


def test_two_loads_of_one_file_have_equal_parts(load: Load) -> None:
    first, second = load(), load()
    assert first.settings == second.settings
    assert first.connections == second.connections
    other = load(environ={"ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGION": "sg1"})
    assert other.outputs != first.outputs
    assert other.inputs == first.inputs


def test_a_connection_that_is_off_is_checked_and_left_out(load: Load) -> None:
    text = GOOD + "    enabled: false\n"
    configuration = load(text)
    assert configuration.connections == {}
    assert configuration.findings == ()
    assert problems_of(load, text.replace("user_id: email", "user_id: phone"))


def test_empty_sections_mean_the_defaults(load: Load) -> None:
    configuration = load("listen:\ninputs:\noutputs: {o: {destination: plain, settings: }}\nconnections: ~\n")
    assert configuration.settings.listen.port == 8080
    assert configuration.outputs["o"].type.name == "plain"


def test_log_path_starts_at_the_folder_of_the_file(load: Load, tmp_path: Path) -> None:
    assert load(GOOD + "log: {path: ../x}\n").settings.log.path == tmp_path / "../x"
    assert load(GOOD + "log: {path: /var/x}\n").settings.log.path == Path("/var/x")


def test_paths_in_settings_of_plugins_start_at_the_folder_of_the_file(load: Load, tmp_path: Path) -> None:
    class Inner(ConfigurationSettings):
        path: Path = setting(title="Path", help="Path.")

    class Filing(ConfigurationSettings):
        path: Path = setting(title="Path", help="Path.")
        spare: Path | None = setting(None, title="Spare", help="Spare.")
        usual: Path = setting(Path("usual"), title="Usual", help="Usual.")
        more: tuple[Path, ...] = setting((), title="More", help="More.")
        inner: Inner | None = setting(None, title="Inner", help="Inner.")
        text: str = setting("./text", title="Text", help="Text.")

    kind = DestinationType(name="filing", title="F", summary="f", create=never, configuration_settings=Filing)
    plugins = make_plugins(PluginInfo(name="f", distribution="router-f", version="1", destinations=[kind]))
    text = "outputs: {o: {destination: filing, settings: {path: %s}}}"
    settings = load(text % "./a, spare: /b, more: [c, /d], inner: {path: e}", plugins=plugins).outputs["o"].settings
    assert (settings.path, settings.spare, settings.usual) == (tmp_path / "a", Path("/b"), tmp_path / "usual")
    assert settings.more == (tmp_path / "c", Path("/d"))
    assert settings.inner.path == tmp_path / "e"
    assert settings.text == "./text"
    assert isinstance(settings, Filing)
    assert load(text % "/a", plugins=plugins).outputs["o"].settings.spare is None


# --- problems, each with place and mend -------------------------------------------------------------------------------

PARTNER = "outputs.partner_eu.settings"
CONNECTION = "connections.shop_to_partner"


@pytest.mark.parametrize(
    ("edit", "line", "path", "what", "mend"),
    [
        # core's models
        (("platform: web", "platform: wep"), 4, "inputs.shop.platform", "'wep' is none of the choices",
         "Did you mean 'web'? Choose android, "),
        (("platform: web", "platform: S3CR3T-1"), 4, "inputs.shop.platform", "is none of the choices.", "Choose"),
        (("inputs:\n", "log: {max_bytes: 512KiB}\ninputs:\n"), 1, "log.max_bytes", "at least 1048576 (1MiB)", ""),
        (("inputs:\n", "log: {segment_bytes: 1KiB}\ninputs:\n"), 1, "log.segment_bytes", "least 65536 (64KiB)", ""),
        (("outputs:\n", "output:\n"), 11, "output", "unknown setting 'output'", "'outputs'"),
        (("    platform: web\n", ""), 2, "inputs.shop.platform", "is required", "`platform: web`"),
        (("key: k1", "key: 12"), 5, "inputs.shop.key", "must be text", "quotes"),
        (("key: k1", "key: ''"), 5, "inputs.shop.key", "must not be empty", ""),
        (("key: k1", "key: [a]"), 5, "inputs.shop.key", "must be one text", "one value"),
        (("key: k1", "kee: k1\n    key: k2"), 5, "inputs.shop.kee", "unknown setting 'kee'", "'key'"),
        (("${env:SHOP_SECRET}", "123"), 6, "inputs.shop.secret", "must be text", "quotes"),
        (("  shop:\n", "  Shop-1:\n"), 2, "inputs.Shop-1", "this is no name", "lower-case"),
        (("transforms: [ids]", "transforms: ids"), 22, "connections.shop_to_partner.transforms",
         "must be a list", "[a, b]"),
        (("inputs:\n", "listen: {port: 99999}\ninputs:\n"), 1, "listen.port", "at most 65535", ""),
        (("inputs:\n", "listen: {port: x}\ninputs:\n"), 1, "listen.port", "whole number", "digits"),
        (("inputs:\n", "listen: 5\ninputs:\n"), 1, "listen", "must be a mapping", "name: value"),
        (("inputs:\n", "log: {retention: 5}\ninputs:\n"), 1, "log.retention", "is not a duration", "24h"),
        (("inputs:\n", "log: {max_bytes: much}\ninputs:\n"), 1, "log.max_bytes", "is not a size", "10GiB"),
        (("inputs:\n", "log: {path: }\ninputs:\n"), 1, "log.path", "has no value", "remove the line"),
        (("inputs:\n", "delivery: {give_up_after: 0s}\ninputs:\n"), 1, "delivery.give_up_after",
         "more than 0 seconds", ""),
        (("inputs:\n", "telemetry: {log_format: xml}\ninputs:\n"), 1, "telemetry.log_format", "choices", "auto, json"),
        (("inputs:\n", "admin: {token: ''}\ninputs:\n"), 1, "admin.token", "must not be empty", "value"),
        (("inputs:\n", "lisen: {}\ninputs:\n"), 1, "lisen", "unknown setting 'lisen'", "'listen'"),
        (("inputs:\n", "_env_file: x\ninputs:\n"), 1, "_env_file", "unknown setting", "Known: admin"),
        # plugins' models
        (("      account_id: A1\n", ""), 14, f"{PARTNER}.account_id", "is required", "`account_id: TEST-1`"),
        (("      passcode: ${file:passcode}\n", ""), 14, f"{PARTNER}.passcode", "is required", "${file:/path}"),
        (("region: eu1", "region: us9"), 17, f"{PARTNER}.region", "none of the choices", "Choose eu1 or sg1"),
        (("region: eu1", "regoin: eu1"), 17, f"{PARTNER}.regoin", "unknown setting 'regoin'", "'region'"),
        (("region: eu1", "retries: 11"), 17, f"{PARTNER}.retries", "at most 10", ""),
        (("region: eu1", "retries: '-'"), 17, f"{PARTNER}.retries", "whole number", "digits"),
        (("region: eu1", "wait: 5"), 17, f"{PARTNER}.wait", "is not a duration", "24h"),
        (("region: eu1", "labels: {a: 1}"), 17, f"{PARTNER}.labels.a", "must be text", "quotes"),
        (("region: eu1", "tags: [a, 1]"), 17, f"{PARTNER}.tags[1]", "must be text", "quotes"),
        (("region: eu1", "proxy: {host: h, hots: a}"), 17, f"{PARTNER}.proxy.hots", "unknown setting 'hots'", "'host'"),
        (("region: eu1", "code: 1.5"), 17, f"{PARTNER}.code", "must be text, or must be a whole number.", "quotes"),
        (("region: eu1", "cache: {kind: disk}"), 17, f"{PARTNER}.cache", "kind that is none", "file, memory"),
        (("region: eu1", "cache: {kind: file}"), 17, f"{PARTNER}.cache.name", "is required", "`name:`"),
        (("account_id: A1", "account_id: wrong"), 15, f"{PARTNER}.account_id", "an account of this year", ""),
        (("account_id: A1", "account_id: explode"), 14, PARTNER, "failed with KeyError", "author"),
        (("settings: {user_id: email}", "settings: {user_id: e}"), 23, "connections.shop_to_partner.settings.user_id",
         "none of the choices", "customer_id or email"),
        (("settings: {user_id: email}", "settings: [a]"), 23, "connections.shop_to_partner.settings",
         "mapping", "name"),
        (('settings: {key: "${env:HASH_KEY}"}', "settings: {}"), 10, "transforms.ids.settings.key",
         "is required", "${env"),
        (("secret: ${env:SHOP_SECRET}", "secret: s\n    settings: {topc: x}"), 7, "inputs.shop.settings.topc",
         "unknown setting", "'topic'"),
        # names of plugins
        (("source: http_in", "source: htp_in"), 3, "inputs.shop.source", "no source is named 'htp_in'", ""),
        (("source: http_in", "source: Http_In"), 3, "inputs.shop.source", "no source has this name", "'http_in'"),
        (("transform: enrich", "transform: zzz"), 9, "transforms.ids.transform", "Installed: enrich", ""),
        (("destination: partner", "destination: parner"), 13, "outputs.partner_eu.destination", "mean 'partner'", ""),
        (("destination: partner", "destination: future"), 13, "outputs.partner_eu.destination", "contract 99", ""),
        # names of entries
        (("input: shop", "input: shp"), 20, "connections.shop_to_partner.input", "no input is named 'shp'", "'shop'"),
        (("output: partner_eu", "output: x"), 21, "connections.shop_to_partner.output", "named 'x'",
         "Known: partner_eu"),
        (("transforms: [ids]", "transforms: [ids, is]"), 22, "connections.shop_to_partner.transforms[1]",
         "no transform is named 'is'", "'ids'"),
        # between entries
        (("    key: k1\n", ""), 2, "inputs.shop.key", "required by the source 'http_in'", "Add `key:`"),
        (("    secret: ${env:SHOP_SECRET}\n", ""), 2, "inputs.shop.secret", "required by", "${env:NAME}"),
        (("transforms:\n  ids", "  other: {source: http_in, platform: ios, key: k1, secret: x}\ntransforms:\n  ids"), 7,
         "inputs.other.key", "'shop' of the same source has the same key", "own"),
        (("inputs:\n", "admin: {port: 8080}\ninputs:\n"), 1, "admin.port", "8080, which is also the port of listen",
         "other"),
        (("inputs:\n", "listen: {port: 8081}\ninputs:\n"), 1, "listen.port", "also the port of admin", "other"),
        # references
        (("${env:SHOP_SECRET}", "${env:SHOP}"), 6, "inputs.shop.secret", "variable SHOP is not set", "Set it"),
        (("${file:passcode}", "${file:nope}"), 16, f"{PARTNER}.passcode", "cannot be read", "Check path"),
        (("inputs:\n", "listen: {port: '${env:PORT}'}\ninputs:\n"), 1, "listen.port", "PORT is not set", "PORT:-"),
        (("destination: partner", "destination: ${env:D}"), 13, "outputs.partner_eu.destination", "D is not set", ""),
        # keys
        (("region: eu1", "account_id: B"), 17, "", "stands twice; first at", "Remove"),
    ],
)  # fmt: skip
def test_one_fault_is_one_problem_with_place_and_mend(
    load: Load, tmp_path: Path, edit: tuple[str, str], line: int, path: str, what: str, mend: str
) -> None:
    text = changed(edit)
    if path == "inputs.Shop-1":
        text = text.replace("input: shop\n", "input: Shop-1\n")
    (problem,) = problems_of(load, text)
    assert (problem.where, problem.path) == (f"{tmp_path}/router.yaml:{line}", path)
    assert what in problem.what
    assert mend in problem.mend


def test_all_problems_come_at_once_in_the_order_of_lines(load: Load) -> None:
    problems = problems_of(
        load,
        changed(("platform: web", "platform: 5"), ("region: eu1", "regoin: x"), ("input: shop", "input: ship"),
                ("transform: enrich", "transform: enrik"), ("${file:passcode}", "${file:nope}")),
        {"ROUTER__LISTEN__PRT": "1"},
    )  # fmt: skip
    assert [problem.path for problem in problems] == [
        "inputs.shop.platform",
        "transforms.ids.transform",
        f"{PARTNER}.passcode",
        f"{PARTNER}.regoin",
        "connections.shop_to_partner.input",
        "listen.prt",
    ]
    assert problems[-1].where == "ROUTER__LISTEN__PRT"


def test_a_broken_plugin_that_is_used_stops_the_start(load: Load) -> None:
    broken = PluginInfo(
        name="b", distribution="router-broken", version="2", error="ImportError: no zlib",
        destinations=[DestinationType(name="zipped", title="Z", summary="z", create=never)],
    )  # fmt: skip
    (problem,) = problems_of(load, changed(("outputs:\n", "outputs:\n  z: {destination: zipped}\n")),
                             plugins=make_plugins(broken))  # fmt: skip
    assert problem.path == "outputs.z.destination"
    assert "router-broken 2" in problem.what
    assert "no zlib" in problem.what


def test_two_plugins_with_one_name_stop_the_start(load: Load) -> None:
    twin = PluginInfo(name="t", distribution="router-twin", version="3", destinations=[PLUGINS.destination("partner")])
    (problem,) = problems_of(load, plugins=make_plugins(twin))
    assert "router-partner 1.0 and router-twin 3" in problem.what


def test_the_own_text_of_a_plugin_is_shown_only_without_values(load: Load) -> None:
    for edit in (("account_id: A1", "account_id: bad-S3cr3t"), ("account_id: A1", "account_id: whole")):
        (problem,) = problems_of(load, changed(edit))
        assert problem.path in (f"{PARTNER}.account_id", PARTNER)
        assert "not shown" in problem.what
        assert "S3cr3t" not in str(problem)
        assert "pass-code" not in str(problem)


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "get", "expected"),
    [
        ("ROUTER__LISTEN__PORT", "9090", lambda c: c.settings.listen.port, 9090),
        ("router__listen__port", "9090", lambda c: c.settings.listen.port, 9090),
        ("ROUTER__LOG__MAX_BYTES", "1GiB", lambda c: c.settings.log.max_bytes, 2**30),
        ("ROUTER__ADMIN__TOKEN", "t", lambda c: c.settings.admin.token, SecretStr("t")),
        ("ROUTER__LISTEN", '{"port": 9091}', lambda c: c.settings.listen.port, 9091),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGION", "sg1",
         lambda c: c.outputs["partner_eu"].settings.region, "sg1"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__RETRIES", "7", lambda c: c.outputs["partner_eu"].settings.retries, 7),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__ACCOUNT_ID", "${env:X}",
         lambda c: c.outputs["partner_eu"].settings.account_id, "${env:X}"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__TAGS", '["a"]',
         lambda c: c.outputs["partner_eu"].settings.tags, ["a"]),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__LABELS__TEAM", "x",
         lambda c: c.outputs["partner_eu"].settings.labels, {"team": "x"}),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__PROXY__HOST", "h",
         lambda c: c.outputs["partner_eu"].settings.proxy.host, "h"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__CACHE__KIND", "memory",
         lambda c: c.outputs["partner_eu"].settings.cache, ByMemory()),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__CODE", "[1", lambda c: c.outputs["partner_eu"].settings.code, "[1"),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__SETTINGS__FORWARD", "true",
         lambda c: c.connections["shop_to_partner"].settings.forward, True),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__TRANSFORMS", "[]",
         lambda c: c.connections["shop_to_partner"].transforms, ()),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__ENABLED", "false", lambda c: dict(c.connections), {}),
        ("ROUTER__OUTPUTS__NEW__DESTINATION", "plain", lambda c: c.outputs["new"].type.name, "plain"),
        ("ROUTER__OUTPUTS__NEW", '{"destination": "plain"}', lambda c: c.outputs["new"].type.name, "plain"),
        ("ROUTER_HOME", "not ours", lambda c: c.settings.listen.port, 8080),
    ],
)  # fmt: skip
def test_the_environment_overrides_and_creates_leaves(
    load: Load, variable: str, value: str, get: Callable[[Configuration], Any], expected: Any
) -> None:
    assert get(load(environ={variable: value})) == expected


def test_the_environment_can_change_the_plugin_whose_settings_it_sets(load: Load) -> None:
    out = "ROUTER__OUTPUTS__NEW__"
    configuration = load(environ={f"{out}SETTINGS__PASSCODE": "p", f"{out}SETTINGS__ACCOUNT_ID": "a",
                                  f"{out}DESTINATION": "partner"})  # fmt: skip
    assert configuration.outputs["new"].settings == Account(account_id="a", passcode=SecretStr("p"))


@pytest.mark.parametrize(
    ("variable", "value", "path", "what", "mend"),
    [
        ("ROUTER__LISTEN__PROT", "1", "listen.prot", "no such setting", "ROUTER__LISTEN__PORT"),
        ("ROUTER__LISTN__PORT", "1", "listn.port", "no such setting", "ROUTER__LISTEN__PORT"),
        ("ROUTER__", "1", "", "no such setting", "Known here"),
        ("ROUTER__LISTEN__PORT__X", "1", "listen.port.x", "nothing is below", "ROUTER__LISTEN__PORT as a whole"),
        ("ROUTER__OUTPUTS__PARTNER_UE__SETTINGS__REGION", "sg1", "outputs.partner_ue.settings.region",
         "no output is named 'partner_ue'", "ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGION"),
        ("ROUTER__OUTPUTS__ZZZ__SETTINGS__REGION", "sg1", "outputs.zzz.settings.region", "no output is named 'zzz'",
         "ROUTER__OUTPUTS__ZZZ__DESTINATION"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGOIN", "sg1", f"{PARTNER}.regoin", "no such setting",
         "ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGION"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__PROXY__HOTS", "x", f"{PARTNER}.proxy.hots", "no such setting",
         "ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__PROXY__HOST"),
        ("ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__REGION", "us9", f"{PARTNER}.region", "none of the choices", "eu1"),
        ("ROUTER__OUTPUTS__PARTNER_EU__DESTINATION", "zzz", "outputs.partner_eu.destination", "named 'zzz'", ""),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__TRANSFORMS", "ids", "connections.shop_to_partner.transforms",
         "is not JSON", '["a", "b"]'),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__TRANSFORMS", '["x"]', "connections.shop_to_partner.transforms[0]",
         "no transform is named 'x'", "ids"),
        ("ROUTER__CONNECTIONS__SHOP_TO_PARTNER__TRANSFORMS__0", "x", "connections.shop_to_partner.transforms.0",
         "nothing is below", "as a whole, in JSON"),
    ],
)  # fmt: skip
def test_a_fault_of_the_environment_names_the_variable(
    load: Load, variable: str, value: str, path: str, what: str, mend: str
) -> None:
    (problem,) = problems_of(load, environ={variable: value})
    assert (problem.where, problem.path) == (variable, path)
    assert what in problem.what
    assert mend in problem.mend


def test_two_spellings_of_one_variable_must_agree(load: Load) -> None:
    assert load(environ={"ROUTER__LISTEN__PORT": "1", "router__listen__port": "1"}).settings.listen.port == 1
    (problem,) = problems_of(load, environ={"ROUTER__LISTEN__PORT": "1", "router__listen__port": "2"})
    assert problem.where == "router__listen__port"
    assert "also set by ROUTER__LISTEN__PORT" in problem.what


def test_a_required_setting_that_only_the_environment_could_give_points_at_the_variable(load: Load) -> None:
    (problem,) = problems_of(load, environ={"ROUTER__INPUTS__NEW__SOURCE": "open_in"})
    assert (problem.where, problem.path) == ("ROUTER__INPUTS__NEW__SOURCE", "inputs.new.platform")


# --- findings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "line", "path", "what", "mend", "severity"),
    [
        ([("outputs:\n", "outputs:\n  spare: {destination: plain}\n")], 12, "outputs.spare", "no connection uses",
         "remove", Severity.NOTE),
        ([("inputs:\n", "inputs:\n  spare: {source: pixel, platform: web, key: k}\n")], 2, "inputs.spare",
         "no connection uses", "connection", Severity.NOTE),
        ([("transforms: [ids]", "transforms: []")], 8, "transforms.ids", "no connection uses", "remove", Severity.NOTE),
        ([("platform: web", "platform: roku")], 20, "connections.shop_to_partner.input",
         "Partner takes nothing from the platform roku", "another platform", Severity.WARNING),
        ([("platform: web", "platform: ios"), ("user_id: email", "forward: false")], 23,
         "connections.shop_to_partner.settings.forward", "web only", "Remove", Severity.NOTE),
        ([("    transforms: [ids]\n", "    transforms: [ids]\n    rules: {minimum_app_version: '2'}\n"),
          ("platform: web", "platform: data_feeds"), ("destination: partner", "destination: open"),
          ("      region: eu1\n", "")], 22, "connections.shop_to_partner.rules.minimum_app_version",
         "the input's platform is data_feeds", "Remove", Severity.NOTE),
        ([("platform: web", "platform: web\n    att_status: denied")], 5, "inputs.shop.att_status",
         "means something for data_feeds, ios, tvos only", "Remove", Severity.NOTE),
        ([("source: http_in", "source: pages"), ("destination: partner", "destination: kitted"),
          ("      region: eu1\n", "    development_settings: {account_id: A, passcode: '${env:HASH_KEY}'}\n"),
          ("settings: {user_id: email}", "filters: {event_names: {allow: [A]}}")], 23,
         "connections.shop_to_partner.filters.event_names", "the Kitted kit in an app or page cannot keep this filter",
         "Block single names", Severity.WARNING),
        ([("${file:passcode}", "in-plain-sight")], 16, f"{PARTNER}.passcode", "plain text", "${file:/path}",
         Severity.WARNING),
        ([("${env:SHOP_SECRET}", "in-plain-sight")], 6, "inputs.shop.secret", "plain text", "${env:NAME}",
         Severity.WARNING),
        ([("region: eu1", "proxy: {host: h, password: in-plain-sight}")], 17, f"{PARTNER}.proxy.password", "plain text",
         "${env:NAME}", Severity.WARNING),
        ([("inputs:\n", "log: {path: /dev/null/in-plain-sight}\ninputs:\n")], 1, "log.path", "cannot make or write",
         "writable", Severity.WARNING),
        ([("inputs:\n", "admin: {token: in-plain-sight}\ninputs:\n")], 1, "admin.token", "plain text", "${env:NAME}",
         Severity.WARNING),
        ([("inputs:\n", "admin: {host: 0.0.0.0}\ninputs:\n")], 1, "admin.host", "`admin.token` is not set", "127.0.0.1",
         Severity.WARNING),
        ([("inputs:\n", "listen: {host: '::'}\ninputs:\n"), ("source: http_in", "source: open_in"),
          ("    secret: ${env:SHOP_SECRET}\n", "")], 3, "inputs.shop", "has no secret", "`secret`", Severity.WARNING),
    ],
)  # fmt: skip
def test_what_is_allowed_but_not_meant_is_a_finding(
    load: Load, tmp_path: Path, edits: list[tuple[str, str]], line: int, path: str, what: str, mend: str,
    severity: Severity,
) -> None:  # fmt: skip
    (finding,) = load(changed(*edits)).findings
    assert isinstance(finding, Finding)
    assert (finding.where, finding.path) == (f"{tmp_path}/router.yaml:{line}", path)
    assert what in finding.what
    assert mend in finding.mend
    assert finding.severity is severity
    assert "in-plain-sight" not in repr(finding)


def test_a_file_without_connections_is_a_finding(load: Load) -> None:
    (finding,) = load("listen: {port: 8080}\n").findings
    assert (finding.path, finding.severity) == ("connections", Severity.WARNING)
    assert "nothing will be delivered" in finding.what


def test_a_folder_above_the_log_must_be_writable_unless_nothing_is_kept(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert [finding.path for finding in load().findings] == ["log.path"]
    assert load(GOOD + "log: {engine: memory}\n").findings == ()


def test_an_open_listener_is_fine_with_secrets_or_public_keys(load: Load) -> None:
    pixel = [("source: http_in", "source: pixel"), ("    secret: ${env:SHOP_SECRET}\n", "")]
    for edits in ([], pixel):
        assert load(changed(("inputs:\n", "listen: {host: 0.0.0.0}\ninputs:\n"), *edits)).findings == ()
    for host in ("localhost", "127.0.0.2", "::1"):
        assert load(changed(("inputs:\n", f"admin: {{host: '{host}'}}\ninputs:\n"))).findings == ()


def test_a_broken_plugin_that_nothing_uses_is_a_finding(load: Load) -> None:
    broken = PluginInfo(name="b", distribution="router-broken", version="2", error="ImportError: no zlib")
    (finding,) = load(plugins=make_plugins(broken)).findings
    assert finding.where == "router-broken 2"
    assert "no zlib" in finding.what
    assert "uninstall router-broken" in finding.mend


def test_the_environment_may_hold_secrets_in_plain_text(load: Load) -> None:
    assert load(environ={"ROUTER__OUTPUTS__PARTNER_EU__SETTINGS__PASSCODE": "x"}).findings == ()


# --- secrets are never printed ----------------------------------------------------------------------------------------


def tree(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths of a document, leaves and mappings alike."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in below for found in tree(item, (*path, key)))]


DOCUMENT: dict[str, Any] = {
    "listen": {"host": "127.0.0.1", "port": 8080},
    "admin": {"token": "${env:TOKEN}"},
    "log": {"retention": "24h", "max_bytes": "1GiB", "path": "./data", "engine": "embedded"},
    "telemetry": {"otlp_endpoint": "http://localhost:4318", "log_level": "info"},
    "inputs": {"shop": {"source": "http_in", "platform": "web", "key": "k", "secret": "s", "settings": {"topic": "t"}}},
    "transforms": {"ids": {"transform": "enrich", "settings": {"key": "x"}}},
    "outputs": {
        "eu": {
            "destination": "partner",
            "settings": {
                "account_id": "A", "passcode": "p", "region": "eu1", "retries": 1, "wait": "1s", "code": "c",
                "labels": {"a": "b"}, "tags": ["a"], "proxy": {"host": "h", "password": "p", "port": 1},
                "cache": {"kind": "file", "name": "n"},
            },
            "development_settings": {"account_id": "D", "passcode": "d", "labels": {"a": "b"}},
        }
    },
    "connections": {
        "c": {
            "input": "shop", "output": "eu", "transforms": ["ids"], "settings": {"user_id": "email"}, "enabled": True,
            "rules": {"minimum_app_version": "2.4", "event_attribute": {"name": "n", "value": "v"},
                      "consent": {"any_of": [{"gdpr": "g"}]}},
            "filters": {"event_names": {"block": ["e"]}, "event_attributes": {"allow": {"e": ["a"]}}},
        }
    },
}  # fmt: skip
PATHS = [path for path in tree(DOCUMENT) if path]

canaries = st.one_of(
    st.from_regex(r"[A-Z]{3}-[A-Z0-9]{3,8}-[A-Z0-9]{4}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{8}[a-f][0-9]{4}[0-9a-f]{8}", fullmatch=True),
    st.from_regex(r"bad[!-~]{3}[ -~]{8}[0-9]{3}", fullmatch=True),
    st.integers(10**9, 10**12),
)


def plant(document: Any, path: tuple[Any, ...], how: str, secret: Any, as_written: Any) -> None:
    """Put the secret at the path: as the value, or in one of the ways in which people miss the place."""
    *parents, last = path
    for segment in parents:
        document = document[segment]
    match how:
        case "value":
            document[last] = as_written
        case "nested":
            document[last] = {"inner": as_written}
        case "listed":
            document[last] = [as_written, {"x": as_written}]
        case "beside" if isinstance(document, dict):
            document["unknown_name"] = as_written
        case "key" if isinstance(document, dict):
            document[str(secret)] = None  # `{S3CR3T}` in braces
        case "glued" if isinstance(document, dict):
            document[f"{last}:{secret}"] = None  # `{passcode:S3CR3T}` in braces
        case _:
            document[last] = f"prefix {as_written}"


WAYS = ["plain", "env", "file", "override"]
HOWS = ["value", "nested", "listed", "beside", "key", "glued", "within"]
Place = tuple[tuple[Any, ...], str]


@hypothesis_settings(max_examples=400, deadline=None)
@given(
    secret=canaries,
    places=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(HOWS)), min_size=1, max_size=3),
    way=st.sampled_from(WAYS),
)
def test_no_text_shows_a_secret_wherever_it_stands(secret: str | int, places: list[Place], way: str) -> None:
    assert_not_shown(secret, places, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secret", ["ABC-DEF-4711", "bad-passcode-815", 4711471147])
def test_no_text_shows_a_secret_at_any_single_place(secret: str | int, way: str) -> None:
    for path in PATHS:
        assert_not_shown(secret, [(path, "value")], way)


def assert_not_shown(secret: str | int, places: list[Place], way: str) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    environ = {"TOKEN": "token", "CANARY": str(secret)}
    written = {"env": "${env:CANARY}", "file": "${file:canary}"}.get(way, secret)
    for path, how in places:
        if way == "override":
            environ["ROUTER__" + "__".join(map(str, path)).upper()] = str(secret)
            continue
        try:
            plant(document, path, how, secret, written)
        except (TypeError, KeyError, IndexError):  # an earlier secret has taken the place of the parent
            continue
    for text in said_of(document, environ, str(secret)):
        assert str(secret) not in text


def test_the_document_of_the_canaries_is_valid() -> None:
    """Else only errors would be searched, and no repr of a configuration."""
    assert len(said_of(DOCUMENT, {"TOKEN": "token"}, "")) > 4


def said_of(document: Any, environ: Mapping[str, str], secret: str) -> list[str]:
    """Everything that a load says of a document."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "router.yaml")
        file.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
        Path(folder, "canary").write_text(f"{secret}\n", encoding="utf-8")
        try:
            configuration = load_configuration(file, plugins=PLUGINS, environ=environ)
        except ConfigurationError as error:
            return [str(error), repr(error), repr(error.problems), repr(error.__cause__)]
    return [
        repr(configuration),
        str(configuration),
        repr(configuration.settings),
        *(repr(getattr(configuration.settings, name)) for name in DOCUMENT),
        repr(configuration.findings),
        *map(str, configuration.findings),
        configuration.settings.model_dump_json(include={"inputs": {"shop": {"secret", "settings"}}, "outputs": True}),
    ]


def test_a_name_that_came_from_a_reference_is_not_shown(load: Load) -> None:
    text = changed(("destination: partner", "destination: ${env:X}"), ("input: shop", "input: ${env:X}"))
    problems = problems_of(load, text, {"X": "hunter"})
    assert [problem.what for problem in problems] == ["no destination has this name.", "no input has this name."]
    assert "hunter" not in "".join(map(str, problems))


def test_a_key_that_may_be_a_value_is_not_among_the_known_names(load: Load) -> None:
    text = changed(("outputs:\n", "outputs:\n  S3cr3t-Canary:\n"), ("output: partner_eu", "output: x"))
    problems = problems_of(load, text)
    assert any("Known: partner_eu." in problem.mend for problem in problems)
    assert "S3cr3t" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    "text", ["a: *{}", "a: !{} x", "a: @{}", "{{{}", "- {}", "a: 'x\n{}", "%{}\n---\n", "&{} a: b"]
)
def test_a_file_that_is_no_yaml_is_not_quoted(load: Load, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "S3cr3t-Canary"
    shown = "".join(map(str, problems_of(load, text.replace("{}", secret).replace("{{", "{"))))
    assert secret not in shown + caplog.text


# --- JSON Schema ------------------------------------------------------------------------------------------------------


def test_the_schema_describes_core_and_plugins() -> None:
    schema = configuration_schema(PLUGINS)
    json.dumps(schema)
    definitions = schema["$defs"]
    assert schema["additionalProperties"] is False
    output = definitions["OutputSettings"]
    assert output["properties"]["destination"]["anyOf"][0]["enum"] == ["future", "kitted", "open", "partner", "plain"]
    (rule,) = [rule for rule in output["allOf"] if rule["if"]["properties"]["destination"]["const"] == "partner"]
    account = {"$ref": "#/$defs/Account"}
    assert rule["then"] == {
        "properties": {"settings": account, "development_settings": account}, "required": ["settings"],
    }  # fmt: skip
    account = definitions["Account"]["properties"]
    assert account["region"]["default"] == "eu1"
    assert account["region"]["examples"] == ["eu1"]
    assert account["region"]["description"] == "Region."
    assert account["passcode"]["writeOnly"] is True
    assert {"$ref": "#/$defs/Line"} in definitions["ConnectionEntry"]["properties"]["settings"]["anyOf"]
    assert definitions["Line"]["properties"]["forward"]["platforms"] == ["web"]
    listen = definitions["ListenSettings"]["properties"]
    assert listen["port"]["default"] == 8080
    assert listen["port"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 65535}
    assert "secret" in definitions["InputSettings"]["properties"]


def test_the_schema_allows_a_reference_for_every_scalar() -> None:
    schema = configuration_schema(PLUGINS)

    def allows_text(node: Any) -> bool:
        if "$ref" in node:
            return allows_text(schema["$defs"][node["$ref"].rpartition("/")[2]])
        if "anyOf" in node:
            return any(allows_text(item) for item in node["anyOf"])
        return node.get("type") == "string" and (
            "pattern" not in node or node["pattern"].startswith(r"\$\{")
        ) and "enum" not in node  # fmt: skip

    def takes_scalars(node: Any) -> bool:
        if "$ref" in node:
            return takes_scalars(schema["$defs"][node["$ref"].rpartition("/")[2]])
        inner = node.get("anyOf") or node.get("oneOf")
        return (
            any(map(takes_scalars, inner)) if inner else node.get("type") in ("string", "integer", "number", "boolean")
        )

    checked = 0
    for definition in schema["$defs"].values():
        for name, node in definition.get("properties", {}).items():
            if takes_scalars(node):
                checked += 1
                assert allows_text(node), name
    assert checked > 30


def test_the_schema_leaves_out_what_cannot_be_described() -> None:
    class Odd(ConfigurationSettings):
        call: Callable[[], None] = setting(title="Call", help="Call.")

    odd = PluginInfo(name="o", distribution="o", version="1")
    odd.transforms.append(TransformType(name="odd", title="O", summary="o", create=never, settings=Odd))
    broken = PluginInfo(name="b", distribution="b", version="1", error="x")
    broken.transforms.append(TransformType(name="gone", title="G", summary="g", create=never))
    schema = configuration_schema(make_plugins(odd, broken))
    entry = schema["$defs"]["TransformSettings"]
    assert entry["properties"]["transform"]["anyOf"][0]["enum"] == ["enrich", "odd"]
    assert [rule["if"]["properties"]["transform"]["const"] for rule in entry["allOf"]] == ["enrich"]


def test_the_schema_of_an_installation_without_plugins_still_describes_core() -> None:
    schema = configuration_schema(Plugins(pluggy.PluginManager("router"), []))
    assert cast(dict[str, Any], schema["$defs"])["OutputSettings"]["allOf"] == []
    assert issubclass(Account, BaseModel)


# --- rules, filters, feeds, development -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "line", "path", "what", "mend"),
    [
        ([("settings: {user_id: email}", "filters: {evnt_names: {block: [a]}}")], 23,
         f"{CONNECTION}.filters.evnt_names", "unknown setting 'evnt_names'", "Did you mean 'event_names'?"),
        ([("settings: {user_id: email}", "filters: {event_types: {block: [navigaton]}}")], 23,
         f"{CONNECTION}.filters.event_types.block[0]", "'navigaton' is none of the choices", "'navigation'"),
        ([("settings: {user_id: email}", "filters: {event_names: {}}")], 23, f"{CONNECTION}.filters.event_names",
         "needs one of the two lists: `allow`, or `block`", ""),
        ([("settings: {user_id: email}", "filters: {event_names: [a]}")], 23, f"{CONNECTION}.filters.event_names",
         "must be a mapping", ""),
        ([("settings: {user_id: email}", "rules: {logged_in_user_only: true}")], 23,
         f"{CONNECTION}.rules.logged_in_user_only", "unknown setting", "'logged_in_users_only'"),
        ([("settings: {user_id: email}", "rules:\n      maximum_data_age: 24")], 24,
         f"{CONNECTION}.rules.maximum_data_age", "is not a duration", "24h"),
        ([("settings: {user_id: email}", "rules:\n      user_sampling_percent: 101")], 24,
         f"{CONNECTION}.rules.user_sampling_percent", "at most 100", ""),
        ([("settings: {user_id: email}", "rules:\n      consent: {any_of: [{ccpa: sale}]}")], 24,
         f"{CONNECTION}.rules.consent.any_of[0].ccpa", "none of the choices", "data_sale_opt_out"),
        ([("platform: web", "platform: web\n    act_as: ios")], 5, "inputs.shop.act_as",
         "only a feed can act as another platform", "platform: data_feeds"),
        ([("platform: web", "platform: web\n    custom_feed: a\n    partner_feed: b")], 5, "inputs.shop.custom_feed",
         "also a partner's feed", "Keep one"),
        ([("      region: eu1\n", "      region: eu1\n    development_settings: {account_id: A2}\n")], 18,
         "outputs.partner_eu.development_settings.passcode", "is required", "${env:NAME}"),
        ([("      region: eu1\n", "    development_settings: {account_id: A, passcode: '${env:HASH_KEY}', regoin: x}\n")
         ], 17, "outputs.partner_eu.development_settings.regoin", "unknown setting", "Did you mean 'region'?"),
    ],
)  # fmt: skip
def test_wrong_rules_filters_and_feeds_are_named_with_line_and_mend(
    load: Load, tmp_path: Path, edits: list[tuple[str, str]], line: int, path: str, what: str, mend: str
) -> None:
    (problem,) = problems_of(load, changed(*edits))
    assert (problem.where, problem.path) == (f"{tmp_path}/router.yaml:{line}", path)
    assert what in problem.what
    assert mend in problem.mend


def test_an_output_with_settings_for_development_makes_two_parts_of_a_connection(load: Load) -> None:
    development = "    development_settings: {account_id: A2, passcode: '${env:HASH_KEY}'}\n"
    edit = ("      region: eu1\n", f"      region: sg1\n{development}")
    configuration = load(changed(edit))
    one, two = configuration.connections.values()
    assert (one.name, two.name) == ("shop_to_partner", "shop_to_partner.development")
    assert (one.rules.environments, two.rules.environments) == (("production",), ("development",))
    assert (one.output.name, two.output.name) == ("partner_eu", "partner_eu.development")
    assert (one.output.settings.region, two.output.settings.region) == ("sg1", "eu1")  # nothing is taken over
    assert two.output.settings.passcode.get_secret_value() == "hash-key"
    assert one.path == two.path == "connections.shop_to_partner"
    assert one.is_part
    assert two.is_part
    only = changed(edit, ("settings: {user_id: email}", "rules: {environments: [development]}"))
    assert list(load(only).connections) == ["shop_to_partner.development"]
    environ = {"ROUTER__OUTPUTS__PARTNER_EU__DEVELOPMENT_SETTINGS__REGION": "sg1"}
    assert load(changed(edit), environ).connections[two.name].output.settings.region == "sg1"


def test_a_feed_that_acts_as_a_platform_is_of_it(load: Load) -> None:
    edit = ("platform: web", "platform: data_feeds\n    act_as: ios\n    custom_feed: Orders")
    source = load(changed(edit)).inputs["shop"]
    assert (source.platform, source.is_feed, source.feed, source.channel) == (
        Platform.IOS, True, "Orders", "server_to_server",
    )  # fmt: skip
    unbound = load(changed(("platform: web", "platform: data_feeds"))).findings
    assert [finding.path for finding in unbound] == ["connections.shop_to_partner.input"]
