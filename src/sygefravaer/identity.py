# SPDX-License-Identifier: MPL-2.0
"""
Who calls: a client certificate, as TLS or a trusted proxy hands it over, read as an Identity.

OCES3 names the organisation in `organizationIdentifier` (NTRDK-<CVR>) and the certificate's holder in `serialNumber`
(UI:DK-O:G:<uuid>), which stays through renewals. OCES2 has both in `serialNumber` (CVR:<CVR>-FID:<n>), in one RDN with
the name. Whether the holder is known, and to whom, is not decided here.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from sygefravaer.errors import HttpRefusal

KEPT: Final = 4096  # certificates whose reading is remembered: far more than there are systems
_OCES2: Final = re.compile(r"CVR:(\d{8})-[FURP]ID:.+")
_OCES3_ORGANISATION: Final = re.compile(r"NTRDK-(\d{8})")


class Scheme(StrEnum):
    """How the subject is built."""

    OCES2 = "oces2"
    OCES3 = "oces3"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a certificate says of its holder.

    `issuer` and `subject` are RFC 4514 texts. `serial_key` is the subject's serialNumber ("" when it has none);
    `serial` is the certificate's own number at its issuer; `thumbprint` is SHA-256, hexadecimal, lower case;
    `der` is the certificate itself.
    """

    issuer: str
    subject: str
    serial_key: str
    cvr: str | None
    name: str
    scheme: Scheme
    thumbprint: str
    serial: int
    not_before: datetime
    not_after: datetime
    der: bytes = field(default=b"", repr=False, compare=False)


@lru_cache(maxsize=KEPT)
def from_der(der: bytes) -> Identity:
    """Read a certificate in DER. Raises `HttpRefusal` (403) when it is not one."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject
        serial_key = _attribute(subject, NameOID.SERIAL_NUMBER)
        scheme, cvr = _scheme(serial_key, _attribute(subject, NameOID.ORGANIZATION_IDENTIFIER))
        return Identity(
            issuer=certificate.issuer.rfc4514_string(),
            subject=subject.rfc4514_string(),
            serial_key=serial_key,
            cvr=cvr,
            name=_attribute(subject, NameOID.COMMON_NAME) or _attribute(subject, NameOID.ORGANIZATION_NAME),
            scheme=scheme,
            thumbprint=certificate.fingerprint(hashes.SHA256()).hex(),
            serial=certificate.serial_number,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            der=der,
        )
    except (ValueError, x509.InvalidVersion) as error:
        raise HttpRefusal(403, "The client certificate cannot be read.") from error


def from_client_cert_header(value: str) -> Identity:
    """Read the header `Client-Cert` of a TLS-terminating proxy (RFC 9440): the certificate in base64 between colons.

    Raises `HttpRefusal` (403) when it is anything else.
    """
    text = value.strip()
    if len(text) < 2 or text[0] != ":" or text[-1] != ":":  # noqa: PLR2004  the two colons
        raise HttpRefusal(403, "The header Client-Cert is not one certificate in base64 between colons.")
    try:
        der = base64.b64decode(text[1:-1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise HttpRefusal(403, "The header Client-Cert is not base64.") from error
    return from_der(der)


def _scheme(serial_key: str, organisation: str) -> tuple[Scheme, str | None]:
    if found := _OCES3_ORGANISATION.fullmatch(organisation):
        return Scheme.OCES3, found[1]
    if found := _OCES2.fullmatch(serial_key):
        return Scheme.OCES2, found[1]
    return Scheme.OTHER, None


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""
