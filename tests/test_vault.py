# SPDX-License-Identifier: MPL-2.0
"""Keys, sealing and keyed hashes."""

import json

import pytest

from sygefravaer.errors import UsageError
from sygefravaer.vault import CannotOpen, Vault


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
    """Rotation: both keys stand in the file, the current one seals."""
    path = tmp_path / "keys"
    old = Vault.create_file(path)
    sealed = old.seal(b"v", context="c")
    content = json.loads(path.read_text())
    content["sealing"]["2"] = content["lookup"]
    content["current"] = 2
    path.write_text(json.dumps(content))
    new = Vault.from_file(path)

    assert new.open(sealed, context="c") == b"v"
    with pytest.raises(CannotOpen):
        old.open(new.seal(b"v", context="c"), context="c")


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
