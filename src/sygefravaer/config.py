# SPDX-License-Identifier: MPL-2.0
"""
One TOML file per part: read once, checked whole, frozen.

`docs/configuration.md` describes every setting. A wrong file names the key, what was found, what was wanted and the
file; it never shows a value, since a value may be a password.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from uuid import UUID

from sygefravaer.errors import UsageError


class Kind(StrEnum):
    """The parts that `sygefravaer serve` knows."""

    GATEWAY = "gateway"
    ADMIN = "admin"
    KSD = "ksd"
    JOBCENTER = "jobcenter"
    PROBER = "prober"


class Surroundings(StrEnum):
    """Where a part runs. Test numbers are refused in production, real ones elsewhere."""

    TEST = "test"
    PRODUCTION = "production"


class Unknown(StrEnum):
    """What becomes of a certificate of which nobody can say at present whether it is revoked."""

    REFUSE = "refuse"
    ADMIT = "admit"


class MailTls(StrEnum):
    """How the way to the mail server is kept private."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class Time(StrEnum):
    """Which clock rules business time."""

    SYSTEM = "system"
    MOVABLE = "movable"


RECEIPT_DAYS: Final = 400
"""For so long at least the same message gets the same receipt, and what was done with it can be told."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Where the part keeps what it knows."""

    dsn: str = field(repr=False)
    schema: str
    pool: int = 8
    wait: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where the part can be reached, and what it shows and trusts in TLS."""

    host: str = "127.0.0.1"
    port: int = 0
    uds: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    crl: Path | None = None
    proxies: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """What the part shows and trusts when it calls somebody."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, kw_only=True)
class Delivering:
    """How the gateway delivers."""

    budget: float | None = None
    timeout: float = 40.0
    lease: float = 60.0
    concurrency: int = 16


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """Where the key of the audit chain and its anchors lie, both outside the database."""

    key: Path
    anchor: Path


@dataclass(frozen=True, kw_only=True)
class Revoking:
    """Where it is learnt which certificates are revoked, and where that is kept."""

    cache: Path
    lists: tuple[str, ...] = ()
    responders: tuple[str, ...] = ()
    every: float = 300.0
    timeout: float = 30.0
    unknown: Unknown = Unknown.REFUSE


@dataclass(frozen=True, kw_only=True)
class Unwrapping:
    """Where the key comes from that opens the vault: a file, or the standard output of a command."""

    file: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Retaining:
    """For how many days each class of data is kept."""

    bodies: int = 90
    receipts: int = 400
    audit: int = 1826
    access_log: int = 1826


@dataclass(frozen=True, kw_only=True)
class Login:
    """
    The OpenID provider at which people sign in to the administration, and how its claims are read.

    `roles` are pairs `value=role`: whoever has this value in the claim of roles has that role here.
    """

    issuer: str
    client_id: str
    redirect: str
    secret: Path | None = None
    scope: str = "openid"
    person_claim: str = "sub"
    name_claim: str = "name"
    cvr_claim: str = "cvr"
    roles_claim: str = "roles"
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Probing:
    """On whose behalf the prober looks up, whom, and how often."""

    municipality: str
    number: str | None = field(default=None, repr=False)
    every: float = 60.0
    timeout: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Mailing:
    """The mail server, and from whom mails are."""

    host: str
    sender: str
    port: int = 587
    tls: MailTls = MailTls.STARTTLS
    ca: Path | None = None
    user: str | None = None
    password: Path | None = None
    operator: str | None = None
    every: float = 5.0
    timeout: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Telling:
    """Where a part shows its metrics and how it is, and where it sends its spans."""

    port: int | None = None
    host: str = "127.0.0.1"
    traces: str | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything one part is told before it starts."""

    part: Kind
    listen: Listen = field(default_factory=Listen)
    name: str = ""
    environment: Surroundings = Surroundings.TEST
    contact: str = "Serviceplatformen Helpdesk"
    database: Database | None = None
    vault: Path | None = None
    vault_key: Unwrapping | None = None
    law: Path | None = None
    codes: Path | None = None
    client: ClientTls | None = None
    audit: Auditing | None = None
    revocation: Revoking | None = None
    probe: Probing | None = None
    mail: Mailing | None = None
    telemetry: Telling | None = None
    authorities: Path | None = None
    login: Login | None = None
    delivery: Delivering = field(default_factory=Delivering)
    retention: Retaining = field(default_factory=Retaining)
    system_id: UUID | None = None
    gateway_url: str | None = None
    municipalities: tuple[str, ...] = ()
    control: Path | None = None
    parts: Mapping[str, Path] = field(default_factory=dict)
    clock: Time = Time.SYSTEM
    clock_ahead: float = 0.0
    clock_at: datetime | None = None

    @property
    def title(self) -> str:
        """The part's own name, or else what kind of part it is."""
        return self.name or self.part.value


NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.GATEWAY: ("database", "vault", "client", "listen.certificate", "listen.key", "listen.ca"),
    Kind.ADMIN: (),
    Kind.PROBER: ("database", "client", "system_id", "gateway_url", "probe"),
    Kind.KSD: (
        "database",
        "vault",
        "client",
        "system_id",
        "gateway_url",
        "listen.certificate",
        "listen.key",
        "listen.ca",
    ),
    Kind.JOBCENTER: (
        "database",
        "vault",
        "client",
        "system_id",
        "gateway_url",
        "municipalities",
        "listen.certificate",
        "listen.key",
        "listen.ca",
    ),
}
"""Settings that are optional as such and that this kind of part cannot do without."""


def load(path: Path) -> Config:
    """
    Read the settings of one part.

    Relative paths in the file start at the file's own directory. Raises UsageError.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(
            "ConfigUnreadable",
            f"The configuration file {path} could not be read ({error.strerror}).",
            try_this="Give the path of a TOML file; docs/configuration.md has one for each part.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            "ConfigMalformed", f"The configuration file {path} is not UTF-8, from byte {error.start} on."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            "ConfigMalformed", f"The configuration file {path} is not TOML {_position(str(error))}."
        ) from error
    config: Config = _Reader(path).table(table, Config, "")
    _judge(config, path)
    return config


def settings() -> tuple[str, ...]:
    """Every setting there is, dotted, sorted: what the documentation must describe."""
    found: list[str] = []
    for name, wanted in get_type_hints(Config).items():
        inner = _dataclass_in(wanted)
        if inner is None:
            found.append(name)
        else:
            found += [f"{name}.{under.name}" for under in dataclasses.fields(inner)]
    return tuple(sorted(found))


def _judge(config: Config, path: Path) -> None:
    for dotted in NEEDED[config.part]:
        value: object = config
        for step in dotted.split("."):
            value = getattr(value, step)
        if value is None or value == ():
            raise UsageError(
                "SettingMissing", f"The setting `{dotted}` is missing in {path}; a {config.part} needs it."
            )
    tls = (config.listen.certificate, config.listen.key, config.listen.ca)
    if any(tls) and not all(tls):
        raise UsageError(
            "SettingMissing", f"`listen.certificate`, `listen.key` and `listen.ca` go together; {path} has only some."
        )
    if config.delivery.lease <= config.delivery.timeout:
        raise UsageError(
            "SettingWrong",
            f"`delivery.lease` in {path} is not longer than `delivery.timeout`: "
            "a second node would send what the first is still sending.",
        )
    if config.probe is not None and not (config.probe.every and config.probe.timeout):
        raise UsageError("SettingWrong", f"`probe.every` and `probe.timeout` in {path} are more than 0.")
    if config.revocation is not None:
        _judge_revocation(config.revocation, path)
    _judge_keeping(config, path)
    if config.environment is Surroundings.PRODUCTION:
        _judge_production(config, path)
    _judge_clock(config, path)


def _judge_clock(config: Config, path: Path) -> None:
    given = [name for name in ("clock_ahead", "clock_at") if getattr(config, name)]
    if given and config.clock is Time.SYSTEM:
        raise UsageError("SettingWrong", f'`{given[0]}` in {path} needs clock = "movable".')
    if len(given) > 1:
        raise UsageError("SettingWrong", f"`clock_ahead` and `clock_at` in {path} say two things of one clock.")


def _judge_revocation(revocation: Revoking, path: Path) -> None:
    if not revocation.lists and not revocation.responders:
        raise UsageError(
            "SettingMissing", f"`revocation.lists` or `revocation.responders` is missing in {path}: nobody is asked."
        )
    for name, urls in (("lists", revocation.lists), ("responders", revocation.responders)):
        if not all(_is_address(url) for url in urls):
            raise UsageError(
                "SettingWrong", f"`revocation.{name}` in {path} holds what is no http:// or https:// address."
            )
    if not revocation.every or not revocation.timeout:
        raise UsageError("SettingWrong", f"`revocation.every` and `revocation.timeout` in {path} are more than 0.")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def _judge_keeping(config: Config, path: Path) -> None:
    if config.telemetry is not None and config.telemetry.traces and not _is_address(config.telemetry.traces):
        raise UsageError("SettingWrong", f"`telemetry.traces` in {path} is no http:// or https:// address.")
    source, kept = config.vault_key, config.retention
    if source is not None and (source.file is None) == (not source.command):
        raise UsageError("SettingWrong", f"`vault_key` in {path} has either a `file` or a `command`.")
    short = [name for name in ("receipts", "audit", "access_log") if getattr(kept, name) < RECEIPT_DAYS]
    if short:
        raise UsageError(
            "SettingWrong", f"`retention.{short[0]}` in {path} is less than {RECEIPT_DAYS} days: so long a case lives."
        )
    if kept.bodies > kept.receipts:
        raise UsageError("SettingWrong", f"`retention.bodies` in {path} is more than `retention.receipts`.")


def _judge_production(config: Config, path: Path) -> None:
    if config.mail is not None and config.mail.tls is MailTls.NONE:
        raise UsageError("SettingWrong", f'`mail.tls` in {path} is "none", and in production mail goes by TLS.')
    writes = config.part is Kind.GATEWAY or (config.part is Kind.ADMIN and config.database is not None)
    if writes and config.audit is None:
        raise UsageError(
            "SettingMissing",
            f"`audit.key` and `audit.anchor` are missing in {path}; in production the record is signed and sealed.",
        )
    listen = config.listen
    by_itself = listen.uds is None and not listen.proxies  # behind a proxy, the proxy may check
    if config.part is Kind.GATEWAY and by_itself and listen.crl is None and config.revocation is None:
        raise UsageError(
            "SettingMissing",
            f"`revocation` and `listen.crl` are missing in {path}; a gateway in production must know who is revoked.",
        )
    if config.control is not None or config.parts:
        raise UsageError(
            "ControlInProduction",
            f"{path} sets `control` or `parts`, and a part in production has no control door.",
            try_this='Remove the setting, or set environment = "test".',
        )
    if config.clock is Time.MOVABLE:
        raise UsageError(
            "MovableClockInProduction",
            f'{path} sets clock = "movable", and time in production is the machine\'s.',
            try_this='Remove the setting, or set environment = "test".',
        )


class _Reader:
    """Turns TOML tables into the dataclasses above by their annotations."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def table(self, table: Mapping[str, Any], wanted: type[Any], prefix: str) -> Any:
        hints = get_type_hints(wanted)
        for key in table:
            if key not in hints:
                raise UsageError(
                    "SettingUnknown",
                    f"The setting `{prefix}{key}` in {self._path} is not known; "
                    f"known here: {', '.join(sorted(hints))}.",
                )
        values = {key: self._value(value, hints[key], f"{prefix}{key}") for key, value in table.items()}
        for spec in dataclasses.fields(wanted):
            required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
            if required and spec.name not in values:
                raise UsageError("SettingMissing", f"The setting `{prefix}{spec.name}` is missing in {self._path}.")
        return wanted(**values)

    def _value(self, value: object, wanted: Any, key: str) -> object:
        if get_origin(wanted) in (Union, types.UnionType):
            wanted = next(option for option in get_args(wanted) if option is not types.NoneType)
        inner = _dataclass_in(wanted)
        if inner is not None:
            return self.table(self._mapping(value, key), inner, f"{key}.")
        if get_origin(wanted) is tuple:
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return tuple(value)
            raise self._wrong(key, value, "a list of strings")
        if get_origin(wanted) is Mapping:
            paths = self._mapping(value, key)
            return {name: self._scalar(item, Path, f"{key}.{name}") for name, item in paths.items()}
        return self._scalar(value, wanted, key)

    def _mapping(self, value: object, key: str) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        raise self._wrong(key, value, "a table")

    def _scalar(self, value: object, wanted: Any, key: str) -> object:
        if wanted in (int, float):
            return self._number(value, wanted, key)
        if wanted is datetime:
            if not isinstance(value, datetime) or value.tzinfo is None:
                raise self._wrong(key, value, _WANTED[datetime])
            return value
        if not isinstance(value, str):
            raise self._wrong(key, value, _WANTED.get(wanted, "a string"))
        if wanted is Path:
            return self._path.parent / value
        if wanted is UUID:
            try:
                return UUID(value)
            except ValueError as error:
                raise self._wrong(key, value, _WANTED[UUID]) from error
        if wanted is not str:
            choices = [str(choice) for choice in wanted]
            if value not in choices:
                raise self._wrong(key, value, f"one of {', '.join(choices)}")
            return wanted(value)
        return value

    def _number(self, value: object, wanted: type[int | float], key: str) -> int | float:
        fits = isinstance(value, int) or (wanted is float and isinstance(value, float))
        if not isinstance(value, int | float) or isinstance(value, bool) or not fits:
            raise self._wrong(key, value, "a whole number" if wanted is int else "a number")
        if value < 0:
            raise self._wrong(key, value, "a number that is not negative")
        return wanted(value)

    def _wrong(self, key: str, value: object, wanted: str) -> UsageError:
        kind = _KINDS.get(type(value), type(value).__name__)
        return UsageError("SettingWrong", f"The setting `{key}` in {self._path} is {kind}; {wanted} was wanted.")


_WANTED: Final[Mapping[type, str]] = {
    datetime: "a time with an offset",
    UUID: "a UUID",
    Path: "a path (a string)",
}
_KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    list: "a list",
    dict: "a table",
    datetime: "a time without an offset",
}


def _dataclass_in(wanted: Any) -> type[Any] | None:
    for option in get_args(wanted) or (wanted,):
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return option
    return None


def _position(text: str) -> str:
    # tomllib's sentence can hold a piece of the file; its position cannot.
    _, found, place = text.rpartition("(")
    return f"({place}" if found else ""
