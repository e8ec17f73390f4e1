# SPDX-License-Identifier: MPL-2.0
"""
A certificate authority of one's own, for the sandbox and the tests, shaped like OCES3 (and, on request, OCES2).

A root, an issuing authority under it, certificates for systems and servers, and a revocation list. Nothing outside a
sandbox trusts any of it. Subjects follow the public profiles: OCES3 names an organisation by `organizationIdentifier`
and a certificate by `serialNumber=UI:DK-O:G:<uuid>`; OCES2 puts `serialNumber=CVR:...-FID:...` and `CN` in one
multi-valued RDN. As in the published samples there is no ExtendedKeyUsage.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from sygefravaer.errors import UsageError

Kind = Literal["oces3", "oces2"]
KeyKind = Literal["ec", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
LEAF_YEARS: Final = 3  # OCES3 organisation certificates live three years
CA_YEARS: Final = 20
DAY: Final = timedelta(days=1)
YEAR: Final = timedelta(days=365)

ETSI_NCP: Final = "0.4.0.2042.1.1"  # both policies: the OCES3 certificate policy for organisations
OCES_ORGANISATION: Final = "1.2.208.169.1.1.1.3.7"


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate with its key, as files; `certificate` holds the chain below the root, leaf first."""

    name: str
    certificate: Path
    key: Path
    p12: Path
    p12_password: str
    serial_key: str
    serial: int
    der: bytes


class Pki:
    """The authority that lives in `directory`; `create()` makes it or reads what is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.ca = self.directory / "ca.pem"
        self.crl = self.directory / "ca.crl"
        self._password_file = self.directory / "p12.password"
        self._key: PrivateKey

    def create(self) -> Pki:
        """Make root, issuing authority and an empty revocation list; one that exists is read and kept.

        Raises `UsageError` when the directory holds half an authority or something unreadable.
        """
        if self.ca.exists():
            self._load()
            return self
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        root_key, root_name = _new_key("ec"), _ca_name("Den Danske Stat OCES rod-CA")
        root = _authority(root_name, root_key, root_name, root_key, path_length=1)
        self._key, name = _new_key("ec"), _ca_name("Den Danske Stat OCES udstedende-CA 1")
        self._certificate = _authority(name, self._key, root_name, root_key, path_length=0)
        self.p12_password = secrets.token_urlsafe(12)
        _write_secret(self._password_file, self.p12_password.encode())
        _write_secret(self.directory / "ca.key", _key_pem(self._key))
        self._issue_crl(())
        self.ca.write_bytes(_pem(root) + _pem(self._certificate))
        return self

    @property
    def foreign(self) -> Pki:
        """Another authority with the same subject names and other keys: nothing here trusts it."""
        return Pki(self.directory / "foreign").create()

    def issue(
        self,
        name: str,
        cvr: str,
        *,
        kind: Kind = "oces3",
        uuid: UUID | None = None,
        san: tuple[str, ...] = LOCAL_NAMES,
        not_after: datetime | None = None,
        ca: Pki | None = None,
        key: KeyKind = "ec",
        responder: str | None = None,
    ) -> Issued:
        """Issue a certificate for a system; `san` lets the same one serve as a server's.

        Without `uuid` the subject's id follows from name and CVR, so that a renewal keeps it. `not_after` in the past
        gives an expired one. `ca` lets another authority sign what is filed here. `key="rsa"`: for old client stacks.
        `responder` is the address of the OCSP responder that it names.
        """
        signer = ca or self
        subject, serial_key = _subject(kind, name, cvr, uuid or uuid5(NAMESPACE_URL, f"sygefravaer:{cvr}:{name}"))
        private = _new_key(key)
        end = not_after or datetime.now(UTC) + LEAF_YEARS * YEAR
        issuer = signer._certificate  # noqa: SLF001  the same class
        builder = (
            _builder(subject, private, issuer.subject, start=min(datetime.now(UTC), end) - DAY, end=end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(leaf=True), critical=True)
            .add_extension(_policies(), critical=False)
            .add_extension(_authority_key(signer._key), critical=False)  # noqa: SLF001
        )
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in san]), critical=False)
        if responder is not None:
            builder = builder.add_extension(_access(responder), critical=False)
        certificate = builder.sign(signer._key, hashes.SHA256())  # noqa: SLF001
        return self._file(name, private, certificate, issuer, serial_key)

    def revoke(self, issued: Issued) -> None:
        """Put a certificate on the revocation list and issue the list anew."""
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(issued.serial)
            .revocation_date(datetime.now(UTC) - DAY)
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
            .build()
        )
        self._issue_crl((*x509.load_pem_x509_crl(self.crl.read_bytes()), entry))

    def crl_der(self, *, valid: timedelta | None = None) -> bytes:
        """Give the revocation list in DER; with `valid` one signed now for so long (or that ended so long ago)."""
        crl = x509.load_pem_x509_crl(self.crl.read_bytes())
        if valid is None:
            return crl.public_bytes(serialization.Encoding.DER)
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(min(now, now + valid) - timedelta(seconds=1))
            .next_update(now + valid)
        )
        for entry in crl:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def ocsp_answer(self, question: bytes, *, valid: timedelta = DAY) -> bytes:
        """Answer a question about a certificate of this authority as its responder would; raises `ValueError`."""
        request = ocsp.load_der_ocsp_request(question)
        crl = x509.load_pem_x509_crl(self.crl.read_bytes())
        entry = crl.get_revoked_certificate_by_serial_number(request.serial_number)
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=request.issuer_name_hash,
                issuer_key_hash=request.issuer_key_hash,
                serial_number=request.serial_number,
                algorithm=request.hash_algorithm,
                cert_status=ocsp.OCSPCertStatus.GOOD if entry is None else ocsp.OCSPCertStatus.REVOKED,
                this_update=min(now, now + valid) - timedelta(seconds=1),
                next_update=now + valid,
                revocation_time=None if entry is None else entry.revocation_date_utc,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate)
        )
        for extension in request.extensions:
            if isinstance(extension.value, x509.OCSPNonce):
                builder = builder.add_extension(extension.value, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def get(self, name: str) -> Issued | None:
        """Give the certificate filed under `name`, if there is one."""
        stem = self._stem(name)
        if not stem.with_suffix(".pem").exists():
            return None
        certificate = x509.load_pem_x509_certificates(stem.with_suffix(".pem").read_bytes())[0]
        serial = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value
        return self._issued(name, certificate, str(serial))

    def _load(self) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificates(self.ca.read_bytes())[1]
            private = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
            self.p12_password = self._password_file.read_text()
            x509.load_pem_x509_crl(self.crl.read_bytes())
        except (OSError, ValueError, IndexError) as error:
            raise UsageError(
                "PkiBroken", f"The certificate authority in {self.directory} is incomplete.", try_this="Remove it."
            ) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise UsageError("PkiBroken", f"The key of the authority in {self.directory} is of another kind.")
        self._key = private

    def _issue_crl(self, revoked: tuple[x509.RevokedCertificate, ...]) -> None:
        # OpenSSL prefers, among several lists of one issuer, the one with the later date, to the second.
        since = datetime.now(UTC).replace(microsecond=0) - DAY
        if self.crl.exists():
            before = x509.load_pem_x509_crl(self.crl.read_bytes()).last_update_utc
            since = max(since, before + timedelta(seconds=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(since)
            .next_update(since + CA_YEARS * YEAR)
            .add_extension(_authority_key(self._key), critical=False)
            .add_extension(x509.CRLNumber(int(since.timestamp())), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        signed = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        new = self.crl.with_suffix(".new")
        new.write_bytes(signed)
        new.replace(self.crl)

    def _file(
        self, name: str, private: PrivateKey, certificate: x509.Certificate, issuer: x509.Certificate, serial_key: str
    ) -> Issued:
        stem = self._stem(name)
        _write_secret(stem.with_suffix(".key"), _key_pem(private))
        stem.with_suffix(".pem").write_bytes(_pem(certificate) + _pem(issuer))
        protection = serialization.BestAvailableEncryption(self.p12_password.encode())
        _write_secret(
            stem.with_suffix(".p12"),
            pkcs12.serialize_key_and_certificates(name.encode(), private, certificate, [issuer], protection),
        )
        return self._issued(name, certificate, serial_key)

    def _issued(self, name: str, certificate: x509.Certificate, serial_key: str) -> Issued:
        stem = self._stem(name)
        return Issued(
            name=name,
            certificate=stem.with_suffix(".pem"),
            key=stem.with_suffix(".key"),
            p12=stem.with_suffix(".p12"),
            p12_password=self.p12_password,
            serial_key=serial_key,
            serial=certificate.serial_number,
            der=certificate.public_bytes(serialization.Encoding.DER),
        )

    def _stem(self, name: str) -> Path:
        return self.directory / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed")


def _subject(kind: Kind, name: str, cvr: str, uuid: UUID) -> tuple[x509.Name, str]:
    country = x509.NameAttribute(NameOID.COUNTRY_NAME, "DK")
    if kind == "oces2":
        serial_key = f"CVR:{cvr}-FID:{uuid.int % 10**8:08}"
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{name} // CVR:{cvr}")
        pair = [
            x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_key),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} (funktionscertifikat)"),
        ]
        single = [x509.RelativeDistinguishedName([one]) for one in (country, organisation)]
        return x509.Name([*single, x509.RelativeDistinguishedName(pair)]), serial_key
    serial_key = f"UI:DK-O:G:{uuid}"
    return (
        x509.Name(
            [
                country,
                x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, f"NTRDK-{cvr}"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_key),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        ),
        serial_key,
    )


def _ca_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DK"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Den Danske Stat"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Test - sandkasse"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _authority(
    subject: x509.Name, key: PrivateKey, issuer: x509.Name, issuer_key: PrivateKey, *, path_length: int
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        _builder(subject, key, issuer, start=now - 5 * YEAR, end=now + CA_YEARS * YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(_authority_key(issuer_key), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, key: PrivateKey, issuer: x509.Name, *, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=leaf,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


def _policies() -> x509.CertificatePolicies:
    return x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in (ETSI_NCP, OCES_ORGANISATION)]
    )


def _authority_key(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _access(responder: str) -> x509.AuthorityInformationAccess:
    place = x509.UniformResourceIdentifier(responder)
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _new_key(kind: KeyKind) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
