"""bcsctl login: sign in to a site, with a token that stays off the command line."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import click

from bcsctl.commands.whoami import render
from bcsctl.fingerprint import fingerprint
from bcsctl.options import exits
from bcsctl.output import BUSY, GOOD, json_option, print_json, say
from engine.env import credentials
from engine.env.endpoint import TlsEndpoint, host_and_port, request_json
from engine.model.errors import Refused, UsageError


@click.command("login", epilog=exits(4))
@click.argument("url")
@click.option("--ca", "ca_file", metavar="FILE", help="The site's authority (PEM). Without it you are asked.")
@click.option("--token-file", metavar="FILE", help="A file with the token, for you alone; - reads standard input.")
@click.option("--keyring", "in_keyring", is_flag=True, help="Keep the token in the desktop's keyring.")
@json_option
def command(url: str, ca_file: str | None, token_file: str | None, in_keyring: bool, as_json: bool) -> None:
    """Sign in to the site whose node answers at URL, and remember it.

    The token comes from --token-file, BCS_TOKEN_FILE, BCS_TOKEN or a prompt, never from an argument. It is kept in
    credentials.json below your configuration, readable to you alone.

    \b
    Example:  bcsctl login https://sf-bcs1:8440 --ca site-ca.pem
    """
    host_and_port(url)
    ca = Path(ca_file).expanduser().read_text("ascii", "replace") if ca_file else shown_authority(url)
    token = read_token(token_file)
    endpoint = TlsEndpoint((url,), credentials.context_of(ca), token)
    found = request_json(endpoint, "POST", "/v1/sign-in", {})
    urls = [url, *(each for each in found.pop("urls", []) if each != url)]
    credentials.write(str(found["site"]), urls, ca, token, in_keyring=in_keyring)
    if as_json:
        print_json({**found, "urls": urls, "ca_fingerprint": fingerprint(ca)})
        return
    say(f"signed in to site {found['site']}", GOOD)
    render(found)


def shown_authority(url: str) -> str:
    """The authority that the node names, once somebody has compared its fingerprint. Refused without a terminal."""
    if not sys.stdin.isatty():
        raise Refused("without --ca somebody has to compare fingerprints", hint="give the site's authority with --ca")
    ca = str(request_json(TlsEndpoint((url,), _trusting_anybody()), "GET", "/v1/ca")["ca"])
    say(f"the node at {url} names this authority, SHA-256:", BUSY)
    say(f"  {fingerprint(ca)}")
    say("compare it with the one that `bcsctl whoami` shows to who has signed in already, or that is on the node")
    if not click.confirm("Is it the same?", default=False, err=True):
        raise Refused("the authority was not accepted", hint="ask who runs the site for site-ca.pem")
    return ca


def read_token(file: str | None) -> str:
    """The token, from wherever it is not seen."""
    if file == "-":
        return credentials.check_token(sys.stdin.read(credentials.TOKEN_CHARS_MAX + 2), "standard input")
    if file is None:
        if token := os.environ.get("BCS_TOKEN"):
            return credentials.check_token(token, "BCS_TOKEN")
        file = os.environ.get("BCS_TOKEN_FILE")
    if file is not None:
        return credentials.read_secret(Path(file).expanduser())
    if not sys.stdin.isatty():
        raise UsageError("there is no token", hint="give --token-file FILE, or - for standard input")
    text: Any = click.prompt("Token", hide_input=True, err=True)
    return credentials.check_token(str(text), "what you typed")


def _trusting_anybody() -> ssl.SSLContext:
    """To be told an authority, and nothing else: what is told is compared by a person before it counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
