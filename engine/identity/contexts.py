"""TLS contexts: 1.3 only, the site's authority alone is trusted. No third party."""

from __future__ import annotations

import ssl
from pathlib import Path

from engine.model.errors import Failed


def client(ca_pem: str, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For asking nodes of the site, whose names are checked; with a certificate we say who we are.

    Raises Failed, naming the file, when the certificate and its key can't be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ca_pem)
    if certificate is not None and key is not None:
        load(context, certificate, key)
    return context


def server(ca_pem: str, certificate: Path, key: Path) -> ssl.SSLContext:
    """For a node. A client may come without a certificate, as users do; one that it brings must be the site's.

    Nothing is resumed: what a client was when it last came must not stand for what it is now.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Use this certificate from the next handshake on. Raises Failed."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Failed(f"{certificate} and {key} can't be used: {error}", hint="remove both, then start again") from None


def _context(protocol: int, ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ValueError, ssl.SSLError) as error:
        raise Failed(f"the site's authority can't be read: {error}", hint="it is a certificate in PEM") from None
    return context
