"""The fingerprint of a certificate, as people compare it."""

from __future__ import annotations

import hashlib
import ssl

from engine.model.errors import UsageError


def fingerprint(pem: str) -> str:
    """SHA-256 of the certificate, in pairs of digits, as `openssl x509 -fingerprint -sha256` prints it."""
    try:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest().upper()
    except ValueError:
        raise UsageError("that is no PEM certificate", hint="it begins with -----BEGIN CERTIFICATE-----") from None
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
