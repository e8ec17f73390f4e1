# SPDX-License-Identifier: MPL-2.0
"""A responder's answer about one certificate (OCSP, RFC 6960): the question, and the answer read and verified. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from sygefravaer.revocation.evidence import EvidenceRefused, check_period, named, signed_by

UNDATED: Final = timedelta(hours=1)  # for how long an answer counts that does not say it
NONCE_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True)
class OcspAnswer:
    """What a responder says of one certificate; it counts from `since` until `until`."""

    revoked: bool
    since: datetime
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a responder, and by what its answer is known."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    nonce: bytes
    content: bytes


def responders(certificate: x509.Certificate) -> tuple[str, ...]:
    """Give the addresses of the responders that a certificate names."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(
        one.access_location.value
        for one in access
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )


def ask(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> Question:
    """Make the question about a certificate; raises `EvidenceRefused` when its issuer is none of ours."""
    for issuer in named(authorities, certificate.issuer):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, Exception):  # noqa: BLE001, S112  cryptography names no one kind: not this issuer
            continue
        nonce = os.urandom(NONCE_BYTES)
        request = (
            ocsp.OCSPRequestBuilder()
            .add_certificate(certificate, issuer, hashes.SHA256())
            .add_extension(x509.OCSPNonce(nonce), critical=False)
            .build()
        )
        content = request.public_bytes(Encoding.DER)
        return Question(certificate=certificate, issuer=issuer, nonce=nonce, content=content)
    raise EvidenceRefused("unknown_issuer")


def read(content: bytes, question: Question, *, now: datetime, fresh: bool = True) -> OcspAnswer:
    """
    Read and verify a responder's answer; raises `EvidenceRefused`.

    It must be signed by the certificate's issuer or by one to whom he gave just that, be about this certificate, and
    count now. `fresh`: a nonce, if there is one, must be the question's; not so of an answer that was kept.
    """
    try:
        response = ocsp.load_der_ocsp_response(content)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise EvidenceRefused("responder_refused")
        signer = _signer(response, question.issuer, now)
        signed = signed_by(signer, response.signature, response.tbs_response_bytes, response.signature_hash_algorithm)
        if not signed:
            raise EvidenceRefused("bad_signature")
        if not _about(response, question):
            raise EvidenceRefused("another_certificate")
        if fresh and _nonce(response) not in {None, question.nonce}:
            raise EvidenceRefused("another_question")
        since, status = response.this_update_utc, response.certificate_status
        until = check_period(since, response.next_update_utc or since + UNDATED, now)
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise EvidenceRefused("malformed") from error
    if status is ocsp.OCSPCertStatus.UNKNOWN:
        raise EvidenceRefused("responder_does_not_know")
    return OcspAnswer(revoked=status is ocsp.OCSPCertStatus.REVOKED, since=since, until=until)


def _about(response: ocsp.OCSPResponse, question: Question) -> bool:
    """Say whether an answer names the certificate that was asked about, and its issuer by the hashes that are his."""
    builder = ocsp.OCSPRequestBuilder()
    asked = builder.add_certificate(question.certificate, question.issuer, response.hash_algorithm).build()
    return (response.serial_number, response.issuer_name_hash, response.issuer_key_hash) == (
        asked.serial_number,
        asked.issuer_name_hash,
        asked.issuer_key_hash,
    )


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> x509.Certificate:
    """Find who signed: the issuer, or the one certificate that he issued for it."""
    for one in response.certificates:
        if one == issuer or not _delegated(one, issuer, now):
            continue
        return one
    return issuer


def _delegated(certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # noqa: BLE001  cryptography names no one kind
        return False
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return valid and ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _nonce(response: ocsp.OCSPResponse) -> bytes | None:
    try:
        return response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
