"""A site's authority: ECDSA P-256, self-signed, and the certificates that it issues (RFC 5280).

The authority's private key is 32 bytes, a number, so that it is wrapped like any other key of a journal. A serial
number is the microsecond of issue before 64 random bits (RFC 5280 asks for at most 20 bytes): a revocation holds for
whatever a host was issued until then, to the microsecond, though certificates themselves know seconds only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engine.env.randomness import token_bytes
from engine.identity.naming import Name
from engine.model.errors import Refused

KEY_BYTES = 32
AUTHORITY_DAYS = 20 * 365
BACKDATED = {"host": timedelta(hours=1), "node": timedelta(days=1)}
"""Clocks differ: a node may verify what another has just issued, a host what a node has. A host's own clock may be
far off before it has heard of the site's time."""

_COMMON_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """A site's authority, able to issue. `pem` is its certificate, public."""

    pem: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def site(self) -> str:
        names = self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        return str(names[0].value) if names else ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and what is noted of it. Times in microseconds."""

    pem: str
    serial: str
    issued_at: int
    not_before: int
    not_after: int


def make_authority(site: str, now: int) -> tuple[Authority, bytes]:
    """A new authority and its private key's 32 bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "bcs"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, site[:_COMMON_NAME_CHARS]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"site {site}"[:_COMMON_NAME_CHARS]),
        ]
    )
    at = _time(now)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number(now))
        .not_valid_before(at - BACKDATED["node"])
        .not_valid_after(at + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, SHA256())
    secret = key.private_numbers().private_value.to_bytes(KEY_BYTES, "big")
    return Authority(_pem(certificate), certificate, key), secret


def load_authority(pem: str, secret: bytes) -> Authority:
    """The authority of a certificate and its key's 32 bytes. ValueError when they don't belong together."""
    certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    if key.public_key() != certificate.public_key():
        raise ValueError("the authority's key is not that of its certificate")
    return Authority(pem, certificate, key)


def issue_to_host(authority: Authority, site: str, host: str, request_pem: str, seconds: int, now: int) -> Issued:
    """A host's certificate for the key of its request; whatever else the request says is not looked at.

    Refused for a request that is none, whose signature does not hold, or whose key is not of P-256.
    """
    key = requested_key(request_pem)
    name = Name(site, "host", host)
    return _issue(authority, name, key, [x509.UniformResourceIdentifier(str(name))], seconds, now)


def issue_to_node(authority: Authority, site: str, node: str, names: Iterable[str], seconds: int, now: int) -> tuple[
    Issued, str
]:  # fmt: skip
    """A node's certificate for the host names and addresses by which it is reached, and its new private key (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name(site, "node", node)
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(name))]
    alternatives += [_reached_by(each) for each in dict.fromkeys(names)]
    issued = _issue(authority, name, key.public_key(), alternatives, seconds, now)
    return issued, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def requested_key(request_pem: str) -> ec.EllipticCurvePublicKey:
    """The key that a request (PKCS #10, PEM) asks a certificate for. Refused when there is something wrong with it."""
    try:
        request = x509.load_pem_x509_csr(request_pem.encode("ascii"))
        key = request.public_key()
        # A stranger's request: of any other kind of key a signature may take long to verify.
        ours = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        sound = ours and request.is_signature_valid
    except (ValueError, UnicodeEncodeError, UnsupportedAlgorithm):
        raise Refused("this is no request for a certificate", hint="send a PKCS #10 request in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused("the request's key is not of the curve P-256")
    if not sound:
        raise Refused("the request is not signed by its own key")
    return key


def serial_number(now: int) -> int:
    return now << 64 | int.from_bytes(token_bytes(8), "big")


def issued_at(serial: str) -> int:
    """When the certificate of this serial number (hexadecimal) was issued, microseconds."""
    return int(serial, 16) >> 64


def _issue(
    authority: Authority,
    name: Name,
    key: ec.EllipticCurvePublicKey,
    alternatives: Iterable[x509.GeneralName],
    seconds: int,
    now: int,
) -> Issued:
    at = _time(now)
    begins, ends = at - BACKDATED[name.role], at + timedelta(seconds=seconds)
    serial = serial_number(now)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if name.role == "node":
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.name[:_COMMON_NAME_CHARS])])
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    )
    certificate = builder.sign(authority.key, SHA256())
    return Issued(_pem(certificate), f"{serial:x}", now, _microseconds(begins), _microseconds(ends))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _reached_by(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC)


def _microseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000
