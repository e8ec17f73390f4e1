# SPDX-License-Identifier: MPL-2.0
"""A revocation list: read from what was fetched, verified, and made a set of numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509

from sygefravaer.revocation.evidence import EvidenceRefused, check_period, named

_PEM: Final = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, kw_only=True)
class RevocationList:
    """What one list says; it counts from `since` until `until`."""

    issuer: str
    since: datetime
    until: datetime
    revoked: frozenset[int]

    @classmethod
    def read(
        cls,
        content: bytes,
        *,
        authorities: Sequence[x509.Certificate],
        now: datetime,
        before: RevocationList | None = None,
    ) -> RevocationList:
        """
        Read and verify a list, DER or PEM; raises `EvidenceRefused`.

        It must be signed by an authority that we trust, count today, be complete for its issuer's certificates (a list
        of changes, or of some reasons only, is not), and not be older than the one `before`.
        """
        try:
            crl = x509.load_pem_x509_crl(content) if _PEM in content[:4096] else x509.load_der_x509_crl(content)
            issuer, since, algorithm = crl.issuer, crl.last_update_utc, crl.signature_hash_algorithm
            extensions = list(crl.extensions)
        except (ValueError, TypeError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
            raise EvidenceRefused("malformed") from error
        signers = [one for one in named(authorities, issuer) if _may_sign(one)]
        if not signers:
            raise EvidenceRefused("unknown_issuer")
        if algorithm is None or algorithm.name not in {"sha256", "sha384", "sha512"}:
            raise EvidenceRefused("weak_signature")
        if not any(crl.is_signature_valid(one.public_key()) for one in signers):  # type: ignore[arg-type]
            raise EvidenceRefused("bad_signature")
        if not all(_understood(extension) for extension in extensions):
            raise EvidenceRefused("partial")
        until = check_period(since, crl.next_update_utc, now)
        if before is not None and (before.issuer != issuer.rfc4514_string() or since < before.since):
            raise EvidenceRefused("older_than_known")
        try:
            revoked = frozenset(entry.serial_number for entry in crl)
        except ValueError as error:
            raise EvidenceRefused("malformed") from error
        return cls(issuer=issuer.rfc4514_string(), since=since, until=until, revoked=revoked)


def _may_sign(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _understood(extension: x509.Extension[x509.ExtensionType]) -> bool:
    """Say whether a list with this extension still says all of its issuer's end-entity certificates."""
    value = extension.value
    if isinstance(value, x509.IssuingDistributionPoint):
        return not (
            value.indirect_crl
            or value.only_contains_ca_certs
            or value.only_contains_attribute_certs
            or value.only_some_reasons
        )
    return not extension.critical
