# SPDX-License-Identifier: MPL-2.0
"""One TOML file per part: checked whole, and every setting documented."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from sygefravaer.config import Config, Kind, Surroundings, Time, load, settings
from sygefravaer.errors import UsageError

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"

KSD = """\
part = "ksd"
vault = "ksd.json"
system_id = "6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11"
gateway_url = "https://localhost:8443"
municipalities = ["29189846"]
control = "run/ksd.sock"
clock = "movable"
clock_ahead = 3

[database]
dsn = "host=/x password=geheim"
schema = "ksd"
wait = 2.5

[listen]
port = 9443
certificate = "a.pem"
key = "a.key"
ca = "ca.pem"

[client]
certificate = "a.pem"
key = "a.key"
ca = "/etc/ca.pem"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "part.toml"
    path.write_text(text)
    return path


def refused(tmp_path: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, text))
    assert "geheim" not in caught.value.text
    return caught.value


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Values have their types, and relative paths start at the file."""
    config = load(write(tmp_path, KSD))

    assert config.part is Kind.KSD
    assert config.title == "ksd"
    assert config.system_id == UUID("6d3c6b0e-6a3e-5b8e-9a59-2f0f0c6d2b11")
    assert config.municipalities == ("29189846",)
    assert config.environment is Surroundings.TEST
    assert (config.clock, config.clock_ahead) == (Time.MOVABLE, 3.0)
    assert config.vault == tmp_path / "ksd.json"
    assert config.database is not None
    assert (config.database.wait, config.database.pool) == (2.5, 8)
    assert config.client is not None
    assert config.client.ca == Path("/etc/ca.pem")


def test_a_password_is_not_printed(tmp_path: Path) -> None:
    """The settings print without the connection string, which may hold a password."""
    assert "geheim" not in repr(load(write(tmp_path, KSD)))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (('part = "ksd"\n', 'part = "ksd"\ncolour = 1\n'), "SettingUnknown", ["`colour`", "vault"]),
        (("schema = ", "skema = "), "SettingUnknown", ["`database.skema`", "schema"]),
        (('schema = "ksd"\n', ""), "SettingMissing", ["`database.schema`"]),
        (('vault = "ksd.json"\n', ""), "SettingMissing", ["`vault`", "ksd"]),
        (('municipalities = ["29189846"]', "municipalities = [1]"), "SettingWrong", ["`municipalities`", "a list"]),
        (('municipalities = ["29189846"]', 'municipalities = "x"'), "SettingWrong", ["a string", "list of strings"]),
        (("port = 9443", 'port = "9443"'), "SettingWrong", ["`listen.port`", "a whole number", "a string"]),
        (("port = 9443", "port = 9443.5"), "SettingWrong", ["a whole number"]),
        (("port = 9443", "port = true"), "SettingWrong", ["a truth value"]),
        (("port = 9443", "port = -1"), "SettingWrong", ["not negative"]),
        (("wait = 2.5", 'wait = "long"'), "SettingWrong", ["`database.wait`", "a number"]),
        (("wait = 2.5", "wait = 2020-01-01"), "SettingWrong", ["`database.wait`", "date"]),
        (('clock = "movable"', 'clock = "sun"'), "SettingWrong", ["`clock`", "system, movable"]),
        (('clock = "movable"', 'clock = "system"'), "SettingWrong", ["`clock_ahead`"]),
        (("clock_ahead = 3", "clock_ahead = 3\nclock_at = 2027-02-06T09:00:00Z"), "SettingWrong", ["two things"]),
        (("clock_ahead = 3", "clock_at = 2027-02-06T09:00:00"), "SettingWrong", ["`clock_at`", "with an offset"]),
        (("clock_ahead = 3", "clock_at = 5"), "SettingWrong", ["`clock_at`", "a number"]),
        (("6d3c6b0e-", "6d3c-"), "SettingWrong", ["`system_id`", "a UUID"]),
        (('vault = "ksd.json"', "vault = 3"), "SettingWrong", ["`vault`", "a path"]),
        (('gateway_url = "https://localhost:8443"', "gateway_url = []"), "SettingWrong", ["a list", "a string"]),
        (('part = "ksd"\n', 'part = "ksd"\nparts = "x"\n'), "SettingWrong", ["`parts`", "a table"]),
        (('part = "ksd"\n', 'part = "ksd"\nparts = {a = 1}\n'), "SettingWrong", ["`parts.a`", "a path"]),
        (('key = "a.key"\nca = "ca.pem"\n', ""), "SettingMissing", ["`listen.key`"]),
        (('part = "ksd"\n', ""), "SettingMissing", ["`part`"]),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: tuple[str, str], code: str, words: list[str]) -> None:
    """The error names the key, what was found, what was wanted and the file."""
    assert change[0] in KSD
    error = refused(tmp_path, KSD.replace(*change))

    assert error.code == code
    assert [word for word in [*words, "part.toml"] if word not in error.text] == []


def test_tls_settings_go_together(tmp_path: Path) -> None:
    """An admin part may do without TLS, but not have half of it."""
    half = 'part = "admin"\n[listen]\ncertificate = "a.pem"\n'

    assert refused(tmp_path, half).code == "SettingMissing"


def test_production_has_no_control_door_and_no_movable_clock(tmp_path: Path) -> None:
    """What lets a sandbox be steered is refused where it would steer people's cases."""
    production = KSD.replace('part = "ksd"\n', 'part = "ksd"\nenvironment = "production"\n')
    closed = production.replace('control = "run/ksd.sock"\n', "")

    assert refused(tmp_path, production).code == "ControlInProduction"
    assert refused(tmp_path, closed).code == "MovableClockInProduction"
    still = closed.replace('clock = "movable"\nclock_ahead = 3\n', "")
    assert load(write(tmp_path, still)).environment is Surroundings.PRODUCTION


def test_a_gateway_in_production_seals_its_audit(tmp_path: Path) -> None:
    """Without key and anchor nobody could say later that nothing was changed."""
    gateway = KSD.replace('part = "ksd"\n', 'part = "gateway"\nenvironment = "production"\n')
    unsealed = gateway.replace('control = "run/ksd.sock"\nclock = "movable"\nclock_ahead = 3\n', "")

    assert "`audit.key`" in refused(tmp_path, unsealed).text
    sealed = unsealed.replace("[listen]\n", '[listen]\ncrl = "c"\n') + '\n[audit]\nkey = "k"\nanchor = "a"\n'
    config = load(write(tmp_path, sealed))
    assert config.audit is not None
    assert config.audit.anchor == tmp_path / "a"


def test_a_gateway_in_production_knows_who_is_revoked(tmp_path: Path) -> None:
    """By a list that others keep, by lists that it fetches, or by the proxy before it."""
    gateway = KSD.replace('part = "ksd"\n', 'part = "gateway"\nenvironment = "production"\n')
    sealed = gateway.replace('control = "run/ksd.sock"\nclock = "movable"\nclock_ahead = 3\n', "")
    sealed += '\n[audit]\nkey = "k"\nanchor = "a"\n'

    assert "`listen.crl`" in refused(tmp_path, sealed).text
    for known in (
        sealed.replace("[listen]\n", '[listen]\ncrl = "c"\n'),
        sealed.replace("[listen]\n", '[listen]\nproxies = ["10.0.0.1"]\n'),
        sealed + '[revocation]\ncache = "r"\nlists = ["http://crl.example/ca.crl"]\n',
    ):
        assert load(write(tmp_path, known)).part is Kind.GATEWAY


def test_mail_in_production_goes_by_tls(tmp_path: Path) -> None:
    """Where a mail goes, and that it went, is nobody else's business."""
    mails = '[mail]\nhost = "h"\nsender = "a@b.example"\ntls = "none"\n'
    plain = KSD.replace('control = "run/ksd.sock"\nclock = "movable"\nclock_ahead = 3\n', "")
    assert load(write(tmp_path, plain + mails)).mail is not None
    production = plain.replace('part = "ksd"\n', 'part = "ksd"\nenvironment = "production"\n')
    assert "`mail.tls`" in refused(tmp_path, production + mails).text


def test_a_file_that_is_no_settings_file(tmp_path: Path) -> None:
    """Away, not text, not TOML: each is named, and nothing of the content is shown."""
    with pytest.raises(UsageError, match=r"nowhere\.toml could not be read"):
        load(tmp_path / "nowhere.toml")
    assert "line 1" in refused(tmp_path, "dsn = geheim").text
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe6"')
    with pytest.raises(UsageError, match="not UTF-8, from byte 8"):
        load(tmp_path / "latin.toml")


def test_every_setting_is_documented() -> None:
    """`docs/configuration.md` has a row for each setting, and for no other."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert sorted(rows) == list(settings())


def test_the_documented_examples_are_valid(tmp_path: Path) -> None:
    """Each example file in the documentation can be loaded."""
    examples = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)

    loaded = [load(write(tmp_path, text)) for text in examples]

    assert [config.part for config in loaded] == [Kind.GATEWAY, Kind.ADMIN, Kind.PROBER, Kind.KSD]
    assert all(isinstance(config, Config) for config in loaded)


def test_a_lease_shorter_than_an_attempt_is_refused(tmp_path: Path) -> None:
    """Two nodes would send the same message at the same time."""
    hasty = refused(tmp_path, KSD + "\n[delivery]\ntimeout = 40\nlease = 40\n")

    assert hasty.code == "SettingWrong"
    assert "delivery.lease" in hasty.text
