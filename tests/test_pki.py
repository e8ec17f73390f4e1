# SPDX-License-Identifier: MPL-2.0
"""The sandbox's certificate authority: shapes, files, revocation."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtensionOID, NameOID

from sygefravaer.errors import UsageError
from sygefravaer.sandbox.pki import Pki

CVR = "19435075"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki")).create()


def leaf(pki: Pki, name: str) -> x509.Certificate:
    issued = pki.get(name)
    assert issued is not None
    return x509.load_der_x509_certificate(issued.der)


def test_oces3_subject_names_organisation_and_certificate(authority: Pki) -> None:
    """An OCES3 certificate carries the CVR in organizationIdentifier and its own id in serialNumber, and no EKU."""
    uuid = UUID("3b1f8d8e-0a52-4cf6-8f62-3a9a1c2c8a11")
    issued = authority.issue("Jobcenter Viborg", CVR, uuid=uuid)
    certificate = x509.load_der_x509_certificate(issued.der)

    assert issued.serial_key == f"UI:DK-O:G:{uuid}"
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_IDENTIFIER)[0].value == f"NTRDK-{CVR}"
    assert certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value == issued.serial_key
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE)


def test_oces2_subject_has_a_multi_valued_rdn(authority: Pki) -> None:
    """An OCES2 certificate has serialNumber and CN in one RDN, and the CVR in the organisation's name."""
    issued = authority.issue("Gammelt system", CVR, kind="oces2")
    certificate = x509.load_der_x509_certificate(issued.der)

    assert issued.serial_key.startswith(f"CVR:{CVR}-FID:")
    assert [len(list(rdn)) for rdn in certificate.subject.rdns] == [1, 1, 2]


def test_chain_verifies_up_to_the_root(authority: Pki) -> None:
    """A leaf is signed by the issuing authority, which is signed by the root."""
    authority.issue("Kaede", CVR)
    root, issuing = x509.load_pem_x509_certificates(authority.ca.read_bytes())

    leaf(authority, "Kaede").verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)


def test_renewal_keeps_the_subject(authority: Pki) -> None:
    """The same name and CVR give the same subject id with another certificate."""
    first, second = authority.issue("Fornyet", CVR), authority.issue("Fornyet", CVR)

    assert first.serial_key == second.serial_key
    assert first.serial != second.serial


def test_key_files_are_private_and_p12_opens(authority: Pki) -> None:
    """Key, p12 and its password are readable by their owner only, and the p12 holds the same certificate."""
    issued = authority.issue("Hemmelig", CVR, key="rsa")
    for path in (issued.key, issued.p12, authority.directory / "ca.key", authority.directory / "p12.password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    key, certificate, _ = pkcs12.load_key_and_certificates(issued.p12.read_bytes(), issued.p12_password.encode())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert certificate is not None
    assert certificate.public_bytes(serialization.Encoding.DER) == issued.der


def test_expired_certificate(authority: Pki) -> None:
    """`not_after` in the past gives a certificate that was valid once."""
    authority.issue("Udloebet", CVR, not_after=datetime.now(UTC) - timedelta(days=2))
    certificate = leaf(authority, "Udloebet")

    assert certificate.not_valid_before_utc < certificate.not_valid_after_utc < datetime.now(UTC)


def test_server_names(authority: Pki) -> None:
    """Names and addresses go to the subject alternative names as what they are; none gives no extension."""
    authority.issue("Server", CVR, san=("sandkasse.example", "::1"))
    names = leaf(authority, "Server").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["sandkasse.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["::1"]

    authority.issue("Kun klient", CVR, san=())
    with pytest.raises(x509.ExtensionNotFound):
        leaf(authority, "Kun klient").extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_revocation_lists_follow_each_other(authority: Pki) -> None:
    """Each new list keeps what was revoked before and is dated later than the one before it."""
    first, second = authority.issue("Foerste", CVR), authority.issue("Anden", CVR)
    authority.revoke(first)
    before = x509.load_pem_x509_crl(authority.crl.read_bytes())
    authority.revoke(second)
    after = x509.load_pem_x509_crl(authority.crl.read_bytes())

    assert before.get_revoked_certificate_by_serial_number(second.serial) is None
    assert {first.serial, second.serial} <= {entry.serial_number for entry in after}
    assert after.last_update_utc > before.last_update_utc


def test_foreign_authority_has_the_same_names_and_other_keys(authority: Pki) -> None:
    """A certificate of the foreign authority names the same issuer and does not verify here."""
    issued = authority.issue("Fremmed", CVR, ca=authority.foreign)
    certificate = x509.load_der_x509_certificate(issued.der)
    issuing = x509.load_pem_x509_certificates(authority.ca.read_bytes())[1]

    assert certificate.issuer == issuing.subject
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(issuing)


def test_a_second_create_reads_what_is_there(tmp_path: Path) -> None:
    """An authority survives a restart: same chain, same certificates, same password, and it can still issue."""
    first = Pki(tmp_path / "pki").create()
    issued = first.issue("System", CVR)
    again = Pki(tmp_path / "pki").create()

    assert again.get("System") == issued
    assert again.get("Ukendt") is None
    assert again.issue("Nyt", CVR).p12_password == issued.p12_password


@pytest.mark.parametrize("damage", ["missing", "rsa"])
def test_half_an_authority_is_refused(tmp_path: Path, damage: str) -> None:
    """A directory that has lost or changed its key is named, and nothing is made in its place."""
    pki = Pki(tmp_path).create()
    key = tmp_path / "ca.key"
    if damage == "missing":
        key.unlink()
    else:
        key.write_bytes(pki.issue("RSA", CVR, key="rsa").key.read_bytes())

    with pytest.raises(UsageError) as refused:
        Pki(tmp_path).create()
    assert refused.value.code == "PkiBroken"
