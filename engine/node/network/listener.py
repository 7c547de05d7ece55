"""The TLS listener: connections are counted, shaken hands with in bounded time, and handed to HTTP with who they are.

OpenSSL does the TLS, through memory buffers. asyncio's own TLS keeps from us what a service among strangers needs:
why a handshake failed, the alert that tells the other side, a bound on those under way; and it holds 256 KiB for
each connection (docs/decisions/0009-identity.md). All connections share two buffers: they are filled and emptied
within one call of the event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine.identity.naming import parse_name
from engine.node.callers.caller import Caller
from engine.node.callers.certificates import Certificates, Known
from engine.node.network.gate import Gate, Limits, network_of
from engine.node.network.http import Http

BUFFER_BYTES = 256 << 10
RECORD_BYTES = 32 << 10
"""More than one record of TLS: what of it had come before is opened together with a whole buffer."""
FLUSH_BYTES = 64 << 10
LINGER_SECONDS = 2.0
"""After an answer to a request that was not read to its end: what still comes is read and dropped for so long. A
sender that is cut off in the middle would not see the answer."""
LOST_MILLISECONDS = 30_000
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
BACKLOG, AT_ONCE = 1024, 32
IDLE_SECONDS_KNOWN, IDLE_SECONDS_UNKNOWN = 120, 15
"""Between two requests of a connection."""

WHAT = "connection-refused"
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, _NOT_YET_VALID
_NO_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"})
_OLD_TLS = frozenset({"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE"})

Refuse = Callable[[str, str, str, dict[str, Any]], None]
"""(what, who, kind, details): must not block."""


class Listener:
    """What all connections share. `protocol` is what asyncio's create_server asks for."""

    def __init__(
        self,
        context: ssl.SSLContext,
        site: str,
        http: Callable[[dict[str, Any]], Http],
        refuse: Refuse,
        certificates: Certificates | None,
        limits: Limits | None = None,
    ) -> None:
        self.context, self.site, self.http, self.refuse = context, site, http, refuse
        self.certificates = certificates
        self.gate = Gate(limits or Limits())
        self.sealed = memoryview(bytearray(BUFFER_BYTES))
        self.plain = memoryview(bytearray(BUFFER_BYTES + RECORD_BYTES))
        self.open: set[Connection] = set()

    def protocol(self) -> Connection:
        return Connection(self)

    def stop(self) -> None:
        """Send home those whose handshakes are not done."""
        for connection in list(self.open):
            if connection.http is None:
                connection.raw.abort()


class Connection(asyncio.BufferedProtocol):
    """One connection: the kernel's transport below, TLS here, HTTP above."""

    raw: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._caller: Caller | None = None
        self._shaking = self._flush_soon = False
        self._address = self._whole_address = ""
        self.http: Http | None = None
        self.closing = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.raw = transport
        host, port = transport.get_extra_info("peername")[:2]
        self._address, self._whole_address = network_of(host), f"{host}:{port}"
        loop = asyncio.get_running_loop()
        why = self._listener.gate.closed_to(self._address, loop.time())
        if why:
            self.closing = True
            transport.abort()
            self._refused(why.replace(" ", "-"), why)
            return
        with suppress(OSError):  # gone already: the first read tells
            _guard(transport.get_extra_info("socket"))
        self._listener.gate.begin(self._address, loop.time())
        self._shaking = True
        self._listener.open.add(self)
        self._tls = self._listener.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        seconds = self._listener.gate.limits.handshake_seconds
        self._timer = loop.call_later(seconds, self._too_slow)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._listener.sealed

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return  # lingering
        self._incoming.write(self._listener.sealed[:nbytes])
        if self.http is None:
            self._shake_hands()
        if self.http is not None:
            self._deliver(self.http)

    def eof_received(self) -> None:
        return None  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._end_timer()
        if self._tls is None:
            return
        self._listener.open.discard(self)
        self._end_handshake()
        self._listener.gate.leave(self._caller, self._address)
        if self.http is not None:
            self.http.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.http is not None:
            self.http.pause_writing()

    def resume_writing(self) -> None:
        if self.http is not None:
            self.http.resume_writing()

    # What HTTP asks for, through Transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing or self._tls is None or not data:
            return
        self._tls.write(data)
        if self._outgoing.pending >= FLUSH_BYTES:
            self._flush()
        elif not self._flush_soon:  # an answer's head and body go together
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        unread = self.http is not None and self.http.in_a_body
        try:
            if self._tls is not None:
                self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other side's goodbye is not waited for
        self._flush()
        if unread:
            self._linger()
        else:
            self.raw.close()

    # Within.

    def _linger(self) -> None:
        if self.raw.is_closing():
            return
        self.raw.write_eof()
        self.raw.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.raw.abort)

    def _end_handshake(self) -> None:
        if self._shaking:
            self._shaking = False
            self._listener.gate.end_handshake(self._address)
            self._end_timer()

    def _shake_hands(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._end_handshake()
            self.closing = True
            self._linger()
            self._refused(*_told(error))
            return
        self._flush()
        self._end_handshake()
        self._hand_over(self._tls)

    def _hand_over(self, tls: ssl.SSLObject) -> None:
        certificate = tls.getpeercert()
        caller = caller_of(certificate or {}, self._listener.site, self._whole_address)
        self._caller = caller or Caller("nobody", "", self._whole_address)
        why = self._listener.gate.enter(self._caller, self._address)
        if caller is None:
            why = "a certificate of the site with no name of the site's"
        if why:
            self.closing = True
            self.raw.abort()
            self._refused("too-many-connections" if caller else "strange", why)
            return
        ends = 0
        if certificate:
            begins, ends = (_microseconds(certificate[name]) for name in ("notBefore", "notAfter"))
            if self._listener.certificates is not None and self._caller.host:
                seen = Known(self._caller.host, self._caller.serial, self._caller.not_before, begins, ends)
                self._listener.certificates.seen(seen)
        self.http = self._listener.http({"caller": caller, "not_after": ends})
        self.http.timeout_keep_alive = IDLE_SECONDS_KNOWN if certificate else IDLE_SECONDS_UNKNOWN
        self.http.on_garbage = lambda: self._refused("no-http", "what came is no HTTP")
        self.http.connection_made(Transport(self))

    def _deliver(self, http: Http) -> None:
        """Give HTTP what has come, opened. Bodies pass here: one call for each buffer that the kernel has filled."""
        assert self._tls is not None
        read, plain = self._tls.read, self._listener.plain
        filled, over, unsent = 0, False, self._outgoing.pending
        try:
            while True:
                count = read(len(plain) - filled, plain[filled:])
                if not count:
                    over = True
                    break
                filled += int(count)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            over = True
        if self._outgoing.pending > unsent and self.raw.get_write_buffer_size() > FLUSH_BYTES:
            # TLS itself answers each request for new keys (RFC 8446, 4.6.3). Who asks and does not read fills memory.
            self.closing = True
            self.raw.abort()
            self._refused("asks-and-does-not-read", "it has TLS answer and does not read the answers")
            return
        if self._outgoing.pending:
            self._flush()
        if filled:
            http.data_received(plain[:filled])  # type: ignore[arg-type]
        if over and not self.closing:
            self.close()

    def _flush(self) -> None:
        self._flush_soon = False
        if self._outgoing.pending and not self.raw.is_closing():
            self.raw.write(self._outgoing.read())

    def _too_slow(self) -> None:
        self._timer = None
        self.closing = True
        self.raw.abort()
        self._refused("slow", f"no handshake within {self._listener.gate.limits.handshake_seconds:g} s")

    def _refused(self, kind: str, why: str) -> None:
        self._listener.refuse(WHAT, self._address, kind, {"from": self._whole_address, "error": why})

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Transport(asyncio.Transport):
    """What HTTP writes to."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._connection._listener.context
        return self._connection.raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._connection.closing or self._connection.raw.is_closing()

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        self._connection.raw.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.write(data)

    def pause_reading(self) -> None:
        if not self._connection.closing:
            self._connection.raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._connection.closing:
            self._connection.raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._connection.raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False


def caller_of(certificate: Any, site: str, address: str) -> Caller | None:
    """Whom a verified certificate, as getpeercert() tells it, stands for; nobody without one, None when it names no
    host and no node of the site."""
    if not certificate:
        return Caller("nobody", "", address)
    names = [parse_name(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    for name in names:
        if name is not None and name.site == site:
            number = int(str(certificate["serialNumber"]), 16)
            serial, issued_at = f"{number:x}", number >> 64
            if name.role == "host":
                return Caller("agent", name.name, address, name.name, serial, issued_at)
            return Caller("node", name.name, address, "", serial, issued_at)
    return None


def bound(address: str, port: int) -> socket.socket:
    """A listening socket; on `::` for IPv4 as well. OSError when the address can't be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    return socket.create_server((address, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)


def _told(error: ssl.SSLError) -> tuple[str, str]:
    """(kind, words) of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = {_EXPIRED: "expired", _NOT_YET: "not-yet-valid"}.get(error.verify_code, "another-authority")
        return kind, f"its certificate does not hold: {error.verify_message}"
    reason = error.reason or ""
    kind = "no-tls" if reason in _NO_TLS else "old-tls" if reason in _OLD_TLS else "handshake"
    return kind, f"the handshake failed: {reason.lower().replace('_', ' ') or 'broken off'}"


def _guard(connected: socket.socket) -> None:
    """A peer that is gone without a word is noticed, and nothing waits for a full packet (tcp(7)). asyncio sets
    TCP_NODELAY only on sockets that were made with the protocol's number, and accepted ones are not."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_MILLISECONDS)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _microseconds(time: Any) -> int:
    return ssl.cert_time_to_seconds(str(time)) * 1_000_000
