"""What a host makes for itself: a private key that never leaves it, and the request for a certificate."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


def new_key() -> bytes:
    """A private key, P-256, as PEM (PKCS #8)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request(key_pem: bytes, host: str) -> str:
    """A request for a certificate (PKCS #10, PEM) for that key. ValueError when it is no key of ours."""
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not of an elliptic curve")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode("ascii")


def belongs(certificate_pem: bytes, key_pem: bytes) -> bool:
    """Whether a certificate is for that key."""
    try:
        key = load_pem_private_key(key_pem, None)
        return x509.load_pem_x509_certificate(certificate_pem).public_key() == key.public_key()
    except (ValueError, TypeError):
        return False


def life(certificate_pem: bytes) -> tuple[int, int]:
    """(issued_at, not_after) of one of our certificates, microseconds. ValueError when it is none."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.serial_number >> 64, int(certificate.not_valid_after_utc.timestamp()) * 1_000_000
