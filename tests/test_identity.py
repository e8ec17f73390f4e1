# SPDX-License-Identifier: MPL-2.0
"""Certificates to identities."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sygefravaer.errors import HttpRefusal
from sygefravaer.identity import Scheme, from_client_cert_header, from_der
from sygefravaer.sandbox.pki import Pki

CVR = "29189846"


def self_signed(*attributes: tuple[x509.ObjectIdentifier, str]) -> bytes:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def test_oces3_subject(pki: Pki) -> None:
    """CVR comes from organizationIdentifier, the holder from serialNumber, the name from CN."""
    uuid = UUID("5b0a2c52-6a2c-4a52-94ad-f0a5e8f0d101")
    issued = pki.issue("Identitet tre", CVR, uuid=uuid)
    identity = from_der(issued.der)

    assert identity.scheme is Scheme.OCES3
    assert (identity.cvr, identity.name, identity.serial_key) == (CVR, "Identitet tre", f"UI:DK-O:G:{uuid}")
    assert identity.thumbprint == hashlib.sha256(issued.der).hexdigest()
    assert identity.serial == issued.serial
    assert identity.issuer.startswith("CN=Den Danske Stat OCES udstedende-CA 1")
    assert identity.not_before < datetime.now(UTC) < identity.not_after


def test_oces2_subject(pki: Pki) -> None:
    """Both CVR and holder come from serialNumber, also when it shares its RDN with CN."""
    identity = from_der(pki.issue("Identitet to", CVR, kind="oces2").der)

    assert identity.scheme is Scheme.OCES2
    assert identity.cvr == CVR
    assert identity.serial_key.startswith(f"CVR:{CVR}-FID:")
    assert identity.name == "Identitet to (funktionscertifikat)"


def test_another_subject_has_no_cvr() -> None:
    """A certificate of any other shape is read too; it has no CVR, and perhaps no serialNumber."""
    identity = from_der(self_signed((NameOID.ORGANIZATION_NAME, "Eksempel")))

    assert (identity.scheme, identity.cvr, identity.serial_key) == (Scheme.OTHER, None, "")
    assert identity.name == "Eksempel"


def test_a_renewal_keeps_the_holder_and_changes_the_thumbprint(pki: Pki) -> None:
    """Two certificates of one holder have one serial key and two thumbprints."""
    first, second = from_der(pki.issue("Fornyes", CVR).der), from_der(pki.issue("Fornyes", CVR).der)

    assert first.serial_key == second.serial_key
    assert first.thumbprint != second.thumbprint


def test_header_of_a_proxy(pki: Pki) -> None:
    """RFC 9440: the certificate in base64 between colons, white space around it allowed."""
    der = pki.issue("Bag proxy", CVR).der

    assert from_client_cert_header(f" :{base64.b64encode(der).decode()}: ") == from_der(der)


@pytest.mark.parametrize(
    "value",
    ["", ":", "::", "abc", ":abc", "abc:", ":a b:", ":æ:", ":" + base64.b64encode(b"not a certificate").decode() + ":"],
)
def test_an_unreadable_header_is_refused(value: str) -> None:
    """Anything but one certificate between colons is 403."""
    with pytest.raises(HttpRefusal) as refused:
        from_client_cert_header(value)
    assert refused.value.status == 403
