# SPDX-License-Identifier: MPL-2.0
"""Keys, sealing and keyed hashes."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sygefravaer.errors import UsageError
from sygefravaer.vault import SETTLE, CannotOpen, KeyFile, KeySource, Vault, keyfile

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def test_what_is_sealed_opens_in_its_own_context_only(vault):
    """A sealed value opens for the context it was sealed for and for no other."""
    sealed = vault.seal(b"0101010101", context="message:1")

    assert b"0101010101" not in sealed
    assert vault.open(sealed, context="message:1") == b"0101010101"
    with pytest.raises(CannotOpen):
        vault.open(sealed, context="message:2")


def test_the_same_value_never_seals_to_the_same_bytes(vault):
    """Equal values cannot be seen to be equal in the database."""
    assert vault.seal(b"x", context="c") != vault.seal(b"x", context="c")


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-1],
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b[:5],
        lambda _: b"",
        lambda b: b"\x00\x63" + b[2:],
    ],
)
def test_a_changed_cut_or_foreign_value_does_not_open(vault, change):
    """An edit in the database is found when the value is opened."""
    with pytest.raises(CannotOpen):
        vault.open(change(vault.seal(b"value", context="c")), context="c")


def test_a_keyed_hash_is_stable_within_a_vault_and_differs_between_vaults(vault, tmp_path):
    """The same citizen is found again here, and cannot be matched with another installation's rows."""
    other = Vault.create_file(tmp_path / "other")

    assert vault.lookup_key("0101010101") == vault.lookup_key("0101010101")
    assert len(vault.lookup_key("0101010101")) == 32
    assert vault.lookup_key("0101010101") != other.lookup_key("0101010101")


def test_a_key_file_is_private_and_read_again(tmp_path):
    """A new process opens what the first one sealed; nobody else can read the keys."""
    path = tmp_path / "keys"
    first = Vault.create_file(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert Vault.from_file(path).open(first.seal(b"v", context="c"), context="c") == b"v"


def test_an_old_key_opens_while_a_new_one_seals(tmp_path):
    """Rotation: both keys stand in the file, the current one seals; a process that has read neither step takes both."""
    path = tmp_path / "keys"
    first, second = Vault.create_file(path), Vault.from_file(path)
    sealed = first.seal(b"v", context="c")
    file = KeyFile(path=path, source=KeySource())
    number = file.prepare(NOW)

    assert Vault.from_file(path).seal(b"v", context="c")[:2] == sealed[:2]
    file.activate(number, NOW)
    new = Vault.from_file(path).seal(b"w", context="c")
    assert (new[:2], sealed[:2]) == (b"\x00\x02", b"\x00\x01")
    assert first.open(new, context="c") == b"w"  # a value that names an unknown key makes it look
    assert second.open(sealed, context="c") == b"v"
    second._look_at = 0.0  # a second has passed
    assert second.seal(b"x", context="c")[:2] == b"\x00\x02"


def test_a_file_that_became_wrong_stops_nobody(tmp_path, caplog):
    """The keys that were read stay in use, the log tells, and the file is not tried again at every value."""
    path = tmp_path / "keys"
    vault = Vault.create_file(path)
    sealed = vault.seal(b"v", context="c")
    path.write_text("{")
    for _ in range(3):
        vault._look_at = 0.0
        assert vault.open(vault.seal(b"v", context="c"), context="c") == b"v"
        with pytest.raises(CannotOpen):
            vault.open(b"\x00\x07" + sealed[2:], context="c")
    assert [record.code for record in caplog.records if record.getMessage() == "vault.unreadable"] == [
        "KeyFileMalformed"
    ]


def test_the_first_format_is_read_and_written_as_the_second(tmp_path):
    """A file from before keys were wrapped opens what it has sealed, and gets a new key like any other."""
    path = tmp_path / "keys"
    key = base64.b64encode(b"k" * 32).decode()
    path.write_text(json.dumps({"format": 1, "current": 1, "sealing": {"1": key}, "lookup": key}))
    path.chmod(0o600)
    before = Vault.from_file(path)
    sealed, hashed = before.seal(b"v", context="c"), before.lookup_key("x")
    KeyFile(path=path, source=KeySource()).prepare(NOW)
    after = Vault.from_file(path)

    assert json.loads(path.read_text())["format"] == 2
    assert after.open(sealed, context="c") == b"v"
    assert after.lookup_key("x") == hashed


def test_keys_are_wrapped_by_a_key_from_elsewhere(tmp_path):
    """In the file stands no key; the right key-encryption key opens it, from a file or from a command's output."""
    kek, other, path = tmp_path / "kek", tmp_path / "other", tmp_path / "keys"
    KeySource.create_file(kek)
    KeySource.create_file(other)
    by_file = KeySource(file=kek)
    by_command = KeySource(command=("/bin/cat", str(kek)))
    vault = Vault.create_file(path, by_file)
    sealed = vault.seal(b"v", context="c")
    stored = base64.b64decode(json.loads(path.read_text())["keys"][keyfile.name_of(by_file.get())]["sealing"]["1"])

    assert len(stored) == 40  # RFC 3394: eight bytes more than the key
    assert Vault.from_file(path, by_command).open(sealed, context="c") == b"v"
    for source in (KeySource(file=other), KeySource()):
        with pytest.raises(UsageError) as caught:
            Vault.from_file(path, source)
        assert caught.value.code == "KekWrong"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (KeySource(command=("/bin/false",)), "KekUnreadable"),
        (KeySource(command=("/no/such/command",)), "KekUnreadable"),
        (KeySource(command=("/bin/echo", "secret")), "KekMalformed"),
        (KeySource(file=Path("/no/such/file")), "KekUnreadable"),
    ],
)
def test_a_key_source_that_gives_no_key_is_named(tmp_path, source, code):
    """The error says which, and never what it gave."""
    with pytest.raises(UsageError) as caught:
        Vault.create_file(tmp_path / "keys", source)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "keys").exists()


def test_a_key_encryption_key_that_others_can_read_is_refused(tmp_path):
    """Like every key."""
    KeySource.create_file(tmp_path / "kek")
    (tmp_path / "kek").chmod(0o644)
    with pytest.raises(UsageError, match="mode 644"):
        KeySource(file=tmp_path / "kek").get()


def test_wrapping_changes_in_two_steps_under_a_process_that_runs(tmp_path):
    """Both keys open it meanwhile; a process whose key-encryption key was dropped fetches the new one and goes on."""
    path, old, new, setting = tmp_path / "keys", tmp_path / "old", tmp_path / "new", tmp_path / "kek"
    KeySource.create_file(old)
    KeySource.create_file(new)
    setting.symlink_to(old)
    running = Vault.create_file(path, KeySource(file=setting))
    sealed = running.seal(b"v", context="c")
    file = KeyFile(path=path, source=KeySource(file=old))

    assert len(file.rewrap(KeySource(file=new))) == 2
    for source in (old, new):
        assert Vault.from_file(path, KeySource(file=source)).open(sealed, context="c") == b"v"
    with pytest.raises(UsageError) as caught:
        file.prepare(NOW)
    assert caught.value.code == "KekTwo"
    setting.unlink()
    setting.symlink_to(new)
    with_new = KeyFile(path=path, source=KeySource(file=new))
    assert with_new.keep_only_own() == (keyfile.name_of(KeySource(file=old).get()),)
    number = with_new.prepare(NOW)
    with_new.activate(number, NOW)
    fresh = Vault.from_file(path, KeySource(file=new)).seal(b"w", context="c")
    assert running.open(fresh, context="c") == b"w"
    with pytest.raises(UsageError):
        Vault.from_file(path, KeySource(file=old))


def test_a_key_that_seals_or_did_a_moment_ago_is_not_deleted(tmp_path):
    """Some process may not have looked yet; and a number is never given twice while its key is there."""
    file = KeyFile(path=tmp_path / "keys", source=KeySource())
    Vault.create_file(file.path)
    number = file.prepare(NOW)
    file.activate(number, NOW)
    for key, now in ((1, NOW), (number, NOW + SETTLE)):
        with pytest.raises(UsageError) as caught:
            file.retire(key, now)
        assert caught.value.code == "KeyInUse"
    file.retire(1, NOW + SETTLE)
    assert list(file.keys().sealing) == [2]
    with pytest.raises(UsageError, match="no sealing key"):
        file.activate(1, NOW)
    with keyfile.locked(file.path), pytest.raises(UsageError, match="Another command"):
        file.prepare(NOW)


def test_a_look_up_key_is_followed_by_another_and_still_finds(tmp_path):
    """Rows that may not change keep the old hash: all of them are given, today's first."""
    file = KeyFile(path=tmp_path / "keys", source=KeySource())
    before = Vault.create_file(file.path).lookup_key("x")
    file.add_lookup()
    after = Vault.from_file(file.path)
    assert after.lookup_key("x") != before
    assert after.lookup_keys("x") == (after.lookup_key("x"), before)


def test_a_key_file_is_never_written_over(tmp_path):
    """A second creation is refused: the first key would be lost and with it everything sealed."""
    Vault.create_file(tmp_path / "keys")
    with pytest.raises(UsageError, match="never written over"):
        Vault.create_file(tmp_path / "keys")


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    """Open modes are an error at start, not a surprise later."""
    path = tmp_path / "keys"
    Vault.create_file(path)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="mode 640"):
        Vault.from_file(path)


def test_a_missing_or_unwritable_key_file_is_named(tmp_path):
    """The error says which file."""
    with pytest.raises(UsageError, match="absent"):
        Vault.from_file(tmp_path / "absent")
    with pytest.raises(UsageError, match="cannot be written"):
        Vault.create_file(tmp_path / "no" / "keys")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"format":1,"current":1,"sealing":{"1":"AAAA"},"lookup":"AAAA"}',
        '{"format":1,"current":1,"sealing":{"1":"A"},"lookup":"A"}',
        f'{{"format":1,"current":2,"sealing":{{"1":"{"A" * 43}="}},"lookup":"{"A" * 43}="}}',
    ],
)
def test_a_file_that_is_no_key_file_is_refused(tmp_path, content):
    """A damaged key file never starts a part."""
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="not a key file"):
        Vault.from_file(path)
