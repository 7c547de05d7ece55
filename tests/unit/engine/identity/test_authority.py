"""Certificates: for whom, for how long, and for nobody else."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from engine.identity import requests
from engine.identity.authority import (
    KEY_BYTES,
    issue_to_host,
    issue_to_node,
    issued_at,
    load_authority,
    make_authority,
    requested_key,
)
from engine.identity.naming import Name, parse_name
from engine.model.errors import Refused

NOW = 1_790_000_000_123_456
DAY = 24 * 3600


def certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def test_an_authority_is_its_certificate_and_32_bytes() -> None:
    made, secret = make_authority("sf", NOW)
    assert len(secret) == KEY_BYTES
    again = load_authority(made.pem, secret)
    assert again.site == "sf"
    assert again.key.private_numbers() == made.key.private_numbers()
    other, _ = make_authority("sf", NOW)
    with pytest.raises(ValueError, match="is not that of its certificate"):
        load_authority(other.pem, secret)


def test_a_host_gets_what_it_is_and_not_what_it_asks_for() -> None:
    authority, _ = make_authority("sf", NOW)
    key = requests.new_key()
    issued = issue_to_host(authority, "sf", "web 1", requests.request(key, "somebody else"), 7 * DAY, NOW)
    made = certificate(issued.pem)
    made.verify_directly_issued_by(authority.certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["bcs://sf/host/web%201"]
    assert parse_name(names[0].value) == Name("sf", "host", "web 1")
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert requests.belongs(issued.pem.encode(), key)
    assert not requests.belongs(issued.pem.encode(), requests.new_key())
    assert requests.life(issued.pem.encode()) == (NOW, issued.not_after)
    assert (issued.issued_at, issued_at(issued.serial)) == (NOW, NOW)
    assert issued.not_after - NOW <= 7 * DAY * 1_000_000 < issued.not_after - NOW + 1_000_000
    assert issued.not_before < NOW


def test_serial_numbers_differ_and_tell_when() -> None:
    authority, _ = make_authority("sf", NOW)
    csr = requests.request(requests.new_key(), "h")
    serials = [issue_to_host(authority, "sf", "h", csr, DAY, NOW + i).serial for i in (0, 0, 1)]
    assert len(set(serials)) == 3
    assert [issued_at(serial) for serial in serials] == [NOW, NOW, NOW + 1]
    assert all(int(serial, 16) < 1 << 159 for serial in serials)  # RFC 5280: positive, at most 20 bytes


def test_a_node_is_verified_by_its_names_and_by_no_other() -> None:
    """By the strict rules of another implementation than the one that runs."""
    authority, _ = make_authority("sf", NOW)
    issued, _ = issue_to_node(authority, "sf", "bcs1", ["bcs1.example", "192.0.2.7"], DAY, NOW)
    at = certificate(issued.pem).not_valid_before_utc
    builder = PolicyBuilder().store(Store([authority.certificate])).time(at)
    made = certificate(issued.pem)
    builder.build_server_verifier(x509.DNSName("bcs1.example")).verify(made, [])
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(made, [])
    host = issue_to_host(authority, "sf", "bcs1.example", requests.request(requests.new_key(), "h"), DAY, NOW)
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("bcs1.example")).verify(certificate(host.pem), [])


@pytest.mark.parametrize("request_pem", ["", "garbage", "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n", "\udcff"])
def test_what_is_no_request_is_refused(request_pem: str) -> None:
    with pytest.raises(Refused, match="no request for a certificate"):
        requested_key(request_pem)


def test_other_keys_and_forged_requests_are_refused() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        pem = builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
        with pytest.raises(Refused, match="curve P-256"):
            requested_key(pem)
    sound = x509.load_pem_x509_csr(requests.request(requests.new_key(), "h").encode())
    der = bytearray(sound.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(Refused, match="not signed by its own key"):
        requested_key(forged)


@pytest.mark.parametrize("uri", ["bcs://sf/host/", "bcs://sf/user/x", "https://sf/host/x", "bcs://sf/host/a/b", ""])
def test_other_uris_are_no_names(uri: str) -> None:
    assert parse_name(uri) is None


@pytest.mark.parametrize("name", [Name("sf", "host", "a/b"), Name("ö s", "node", "x%"), Name("a", "host", "名")])
def test_names_survive_their_uri(name: Name) -> None:
    assert parse_name(str(name)) == name
    assert str(name).isascii()
