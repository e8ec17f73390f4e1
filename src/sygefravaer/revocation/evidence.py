# SPDX-License-Identifier: MPL-2.0
"""What lists and answers have in common: who may sign them, and when they count. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from sygefravaer.errors import UsageError

SKEW: Final = timedelta(minutes=5)  # by how much an authority's clock may be ahead of ours


class EvidenceRefused(Exception):
    """What was fetched proves nothing; `why` is a stable word for the log and the state."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def read_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the authorities that may sign; raises `UsageError`."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UsageError(
            "TlsFiles", "The CA bundle cannot be read.", try_this="Check the path of the authorities."
        ) from error


def named(authorities: Sequence[x509.Certificate], name: x509.Name) -> list[x509.Certificate]:
    """Find the authorities of this name; several may have it, with other keys."""
    return [one for one in authorities if one.subject == name]


def check_period(since: datetime, until: datetime | None, now: datetime) -> datetime:
    """Give until when something counts; raises when it has no end, has not begun, or has ended."""
    if until is None:
        raise EvidenceRefused("no_next_update")
    if since > now + SKEW:
        raise EvidenceRefused("not_yet_valid")
    if until <= now:
        raise EvidenceRefused("expired")
    return until


def signed_by(certificate: x509.Certificate, signature: bytes, signed: bytes, algorithm: HashAlgorithm | None) -> bool:
    """Say whether a signature is that of this certificate's key; only kinds of keys that OCES knows can be."""
    key = certificate.public_key()
    if algorithm is None or algorithm.name not in {"sha256", "sha384", "sha512"}:
        return False
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True
