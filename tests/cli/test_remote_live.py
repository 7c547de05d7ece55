"""A remote site over real TLS: signing in, reading from a workstation, what each role may do, where secrets are not."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcsctl.fingerprint import fingerprint
from engine.env.endpoint import as_error, connect, request_json
from engine.model.errors import BcsError, Unauthenticated
from engine.wire import output
from tests.unit.engine.env.authority import authority

from .remote import FINANCE, Remote, remote_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    with remote_site(tmp_path_factory.mktemp("remote")) as remote:
        yield remote


def test_whoami(site: Remote) -> None:
    found = site.run("olga", "whoami", "--json").json
    assert (found["kind"], found["name"], found["token"], found["site"]) == ("user", "olga", "olgas", "test")
    assert (found["roles"], found["groups"]) == (["viewer", "operator"], ["finance*"])
    assert "operator: finance*" in site.run("olga", "whoami").text
    on_node = site.on_node("whoami", "--json").json
    assert on_node["kind"] == "local" and on_node["roles"][-1] == "admin" and on_node["groups"] == ["*"]


READS = [
    ["points", FINANCE],
    ["ls", f"{FINANCE}:/srv/finance"],
    ["ls", FINANCE, "--recursive", "--at", "latest"],
    ["cat", f"{FINANCE}:/srv/finance/q3.ods"],
    ["diff", FINANCE, "--from", "point:1.11"],
    ["log", f"{FINANCE}:/srv/finance/q3.ods", "--limit", "5"],
    ["search", "q3", "--source", FINANCE],
    ["query", "select point, class from points order by address, lsn"],
    ["history"],
    ["check", "--read-data"],
    ["report", "recovery-audit", "--from", "-2d", "--format", "json", "--group", "finance"],
]
CHANGING = {"report": ("generated_at", "period", "refusals", "verifications", "restores", "answer", "sources")}


@pytest.mark.parametrize("argv", READS, ids=lambda argv: argv[0])
def test_a_read_answers_what_it_answers_on_the_node(site: Remote, argv: list[str]) -> None:
    here, there = site.run("rudi", *argv, "--json"), site.on_node(*argv, "--json")
    assert (here.code, here.err) == (there.code, there.err) and here.code == 0
    if argv[0] == "check":  # the node writes on meanwhile
        assert here.json["errors"] == there.json["errors"] == [] and here.json["recorded"]
        return
    ignored = CHANGING.get(argv[0], ())
    left, right = ({key: value for key, value in ran.json.items() if key not in ignored} for ran in (here, there))
    assert left == right
    if argv[0] not in ("report", "points"):  # which say how long ago things were
        assert site.run("rudi", *argv).out == site.on_node(*argv).out


def test_bytes_come_as_they_are(site: Remote) -> None:
    assert site.run("olga", "cat", f"{FINANCE}:/srv/finance/q4.ods").out == b"q4.ods"


def test_times_are_the_callers(site: Remote) -> None:
    ran = site.run("vera", "points", FINANCE, TZ="Asia/Tokyo")
    assert "+0900" in ran.text and "+0900" not in site.run("vera", "points", FINANCE).text
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime((site.at + 10_000_000) / 1e6 + 9 * 3600))
    assert site.run("vera", "ls", FINANCE, "--at", local, "--json", TZ="Asia/Tokyo").json["point"] == "1.11"


def test_colours_are_those_of_the_callers_terminal(site: Remote) -> None:
    command = f"{sys.executable} -m bcsctl points {FINANCE}"
    environment = {**site.variables("vera"), "TERM": "xterm-256color"}
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"], env={**environment, **more}, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=60, cwd=site.folder,
        )  # fmt: skip
        assert done.returncode == 0 and (b"\x1b[" in done.stdout) is coloured, done.stdout


def test_exit_codes_and_errors_come_back(site: Remote) -> None:
    missing = site.run("vera", "ls", f"{FINANCE}:/nowhere", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (5, "nothing-there")
    assert site.run("vera", "ls", "finance/sf-db1/other").code == 5
    assert site.run("vera", "query", "drop table events").code == 4
    assert site.run("vera", "query", "select nonsense").code == 2
    assert site.run("vera", "log", FINANCE).code == 2
    assert site.run("vera", "points", FINANCE, "--limit", "0").code == 2


def test_status_of_the_node_over_tls(site: Remote) -> None:
    status = site.run("vera", "status", "--json").json
    assert status["node"] and [group["name"] for group in status["groups"]] == ["finance"]
    assert FINANCE in site.run("vera", "status").text


def test_marks(site: Remote) -> None:
    done = site.run("olga", "mark", "finance", "--label", "tonight", "--wait", "0.2", "--json")
    assert done.code == 1 and [one["address"] for one in done.json["marks"]] == [FINANCE]
    refused = site.run("vera", "mark", "finance", "--label", "tonight", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "not-authorised")
    assert "operator" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("user", "argv"),
    [
        ("vera", ["cat", f"{FINANCE}:/srv/finance/q3.ods"]),
        ("vera", ["check"]),
        ("olga", ["check"]),
        ("olga", ["token", "list"]),
        ("rudi", ["token", "create", "mine"]),
        ("rudi", ["certificate", "list"]),
        ("nils", ["cat", f"{FINANCE}:/srv/finance/q3.ods"]),
    ],
)
def test_what_a_role_does_not_allow(site: Remote, user: str, argv: list[str]) -> None:
    refused = site.run(user, *argv, "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "not-authorised"), refused.text


def test_a_report_is_written_where_the_caller_is(site: Remote) -> None:
    there = site.folder / "audit.html"
    done = site.run("vera", "report", "recovery-audit", "--from", "-1d", "--output", str(there))
    assert done.code == 0 and there.read_text().startswith("<!") and not (site.node.home / "audit.html").exists()
    told = site.run("vera", "report", "recovery-audit", "--from", "-1d", "--format", "md", "--json").json
    assert told["text"].startswith("#")
    assert site.run("vera", "report", "nonsense").code == 5


def test_files_of_the_node_are_out_of_reach(site: Remote) -> None:
    """What the command line here would not even send."""
    credential = {"token": site.tokens["rudi"]}
    for argv in (
        ["points", f"--home={site.node.home}", "--", FINANCE],
        ["report", "--output=/tmp/owned", "--", "recovery-audit"],
        ["report", "--outpu=/tmp/owned", "--", "recovery-audit"],
        ["history", "--site=local"],
    ):
        code, out = commands(site, credential["token"], argv)
        assert code in (2, 4) and b"error: " in out, (argv, out)
    for argv in (["serve"], ["restore", FINANCE], ["apply"], ["token", "list"], ["--version"], [], ["status"]):
        with pytest.raises(BcsError, match="can't be run on a node"):
            commands(site, credential["token"], argv)
    for zone in ("/etc/passwd", "../../etc/passwd", ":/etc/passwd", "x" * 200, "a\0b", "Europe/../x"):
        with pytest.raises(BcsError):
            commands(site, credential["token"], ["history"], zone=zone)


def commands(site: Remote, token: str, argv: list[str], **more: object) -> tuple[int, bytes]:
    """Ask for a command as no command line of ours would; (exit code, all output)."""
    connection = connect(site.node.endpoint(token=token), 60.0)
    try:
        connection.request("POST", "/v1/commands", json.dumps({"argv": argv, **more}))
        answer = connection.getresponse()
        if answer.status >= 400:
            raise as_error(json.loads(answer.read()), "")
        parts = list(output.frames(answer.read))
    finally:
        connection.close()
    assert parts[-1][0] == output.END
    return json.loads(parts[-1][1])["exit"], b"".join(content for kind, content in parts[:-1])


def test_the_command_of_a_caller_who_has_gone_is_ended(site: Remote) -> None:
    endless = "select count(*) from range(100000000000) a, range(100000) b"
    process = subprocess.Popen(
        [sys.executable, "-m", "bcsctl", "query", endless], env=site.variables("vera"), cwd=site.folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_that(lambda: bool(sandboxes(site)))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
    await_that(lambda: not workers(site))


def test_at_most_so_many_at_once(site: Remote) -> None:
    endless = "select count(*) from range(100000000000) a, range(100000) b"
    several = [
        subprocess.Popen(
            [sys.executable, "-m", "bcsctl", "query", endless], env=site.variables("vera"), cwd=site.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(6)
    ]  # fmt: skip
    try:
        await_that(lambda: any(each.poll() is not None for each in several))  # too many of one user are sent home
        assert len(workers(site)) <= 2
        done = site.run("rudi", "history", "--json")  # others are served meanwhile
        assert done.code == 0
    finally:
        for each in several:
            each.kill()
            each.wait()
    await_that(lambda: not workers(site))


def workers(site: Remote) -> list[int]:
    """The processes in which the node runs commands."""
    return [pid for pid in children(site.node.pid) if b"bcsctl.on_node" in cmdline(pid)]


def sandboxes(site: Remote) -> list[int]:
    return [child for pid in workers(site) for child in children(pid) if b"sandbox" in cmdline(child)]


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(each) for each in task.read_text().split()]
        except OSError:
            continue
    return found


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def await_that(condition: object, seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


def test_which_site_is_meant(site: Remote, tmp_path: Path) -> None:
    assert site.run("vera", "history", "--site", "test").code == 0
    assert site.run("vera", "history", BCS_SITE="test").code == 0
    unknown = site.run("vera", "history", "--site", "boston", "--json")
    assert unknown.code == 2 and "signed in to test" in unknown.json["error"]["hint"]
    assert site.run("vera", "history", "--site", "local").code == 5
    assert site.run("vera", "history", "--site", "test", "--home", str(tmp_path)).code == 2
    # An embedded site that is there comes before the only one signed in to.
    embedded = site.run("vera", "history", "--json", BCS_HOME=str(site.node.home))
    assert len(embedded.json["applied"]) > len(site.run("vera", "history", "--json").json["applied"])


def test_signing_in_with_what_does_not_count(site: Remote) -> None:
    bad = site.folder / "bad.token"
    bad.write_text("bcs_0_nonsense\n")
    bad.chmod(0o600)
    ca = str(site.folder / "ca.pem")
    refused = site.run("eve", "login", site.node.url, "--ca", ca, "--token-file", str(bad), "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "unauthenticated")
    assert not (site.folder / "eve").exists()
    bad.chmod(0o644)
    assert site.run("eve", "login", site.node.url, "--ca", ca, "--token-file", str(bad)).code == 4
    assert site.run("eve", "login", site.node.url, "--token-file", "-", stdin="x").code == 4  # nobody to compare
    assert site.run("eve", "login", "http://127.0.0.1:1", "--ca", ca, "--token-file", "-", stdin="x").code == 2


@pytest.mark.parametrize("accepted", [True, False])
def test_a_person_signs_in_at_a_terminal(site: Remote, accepted: bool) -> None:
    """The authority's fingerprint is shown and asked about; the token is typed, and not shown."""
    user = f"tina-{accepted}"
    file = site.folder / f"{user}.token"
    assert site.on_node("token", "create", user.lower(), "--user", "vera", "--output", str(file)).code == 0
    token = file.read_text().strip()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(site.folder)
        os.execve(sys.executable, [sys.executable, "-m", "bcsctl", "login", site.node.url], site.variables(user))
    shown = read_until(terminal, b"same?")
    assert fingerprint(site.node.ca_pem).encode() in shown
    os.write(terminal, b"y\n" if accepted else b"n\n")
    if accepted:
        shown += read_until(terminal, b"Token:")
        os.write(terminal, token.encode() + b"\n")
    shown += read_until(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (0 if accepted else 4), shown
    os.close(terminal)
    assert token.encode() not in shown
    assert (site.folder / user / "bcs" / "credentials.json").exists() is accepted
    if accepted:
        assert site.run(user, "whoami", "--json").json["name"] == "vera"


def read_until(terminal: int, text: bytes | None) -> bytes:
    """What a terminal shows up to a text; with None up to its end."""
    shown = b""
    ends = time.monotonic() + 40
    while text is None or text not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, ends - time.monotonic()))
        assert ready, shown
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            assert text is None, shown
            break
        shown += piece
    return shown


def test_another_authority_is_not_trusted(site: Remote, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(authority())
    refused = site.run(
        "eve", "login", site.node.url, "--ca", str(other), "--token-file", "-", stdin=site.tokens["vera"]
    )
    assert refused.code == 1 and "not trusted" in refused.err


def test_a_token_from_the_environment_and_a_file(site: Remote) -> None:
    """As programs do: no credentials file at all."""
    environment = {"BCS_URL": site.node.url, "BCS_CA_FILE": str(site.folder / "ca.pem")}
    file = site.folder / "vera.token"
    assert site.run("ci", "whoami", "--json", **environment, BCS_TOKEN_FILE=str(file)).json["name"] == "vera"
    assert site.run("ci", "history", **environment, BCS_TOKEN=site.tokens["olga"]).code == 0
    assert site.run("ci", "history", **environment).code == 4


def test_a_revoked_token_is_refused_from_the_next_request_on(site: Remote) -> None:
    assert site.sign_in("nora").code == 0
    endpoint = site.node.endpoint(token=site.tokens["nora"])
    assert request_json(endpoint, "GET", "/v1/whoami")["roles"] == []
    assert site.on_node("token", "revoke", "noras").code == 0
    with pytest.raises(Unauthenticated):
        request_json(endpoint, "GET", "/v1/whoami")
    refused = site.run("nora", "history", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "unauthenticated")
    assert site.run("nora", "logout").code == 0 and site.run("nora", "logout").code == 5


def test_acts_and_refusals_are_in_the_audit(site: Remote) -> None:
    site.run("olga", "cat", f"{FINANCE}:/srv/finance/q3.ods")
    site.run("vera", "token", "list")
    olga = site.node.endpoint(token=site.tokens["olga"])
    stream = next(iter(request_json(olga, "GET", "/v1/streams")["streams"]))["id"]
    with contextlib.closing(connect(olga, 30.0)) as asked:
        asked.request("GET", f"/v1/streams/{stream}/cat?path=/srv/finance/q3.ods")
        assert asked.getresponse().read()
    assert commands(site, site.tokens["olga"], ["cat", *["x" * 100_000] * 9])[0] == 2
    rows = site.on_node("query", "select what, who, details from audit", "--json").json["rows"]
    told = {(what, who): json.loads(details) for what, who, details in rows}
    assert told["sign-in", "vera (token veras)"]["from"].startswith("127.0.0.1:")
    reads = [json.loads(details) for what, who, details in rows if what == "read" and "olga" in who]
    assert f"{FINANCE}:/srv/finance/q3.ods" in [each["argv"][-1] for each in reads if "argv" in each]
    assert [(each["stream"], each["path"]) for each in reads if "argv" not in each] == [(stream, "/srv/finance/q3.ods")]
    assert max(len(json.dumps(each)) for each in reads) < 50_000
    assert told["check", "rudi (token rudis)"]["errors"] == 0
    assert told["access-refused", "vera (token veras)"]["kind"] == "not-authorised"
    assert any(what == "token-create" for what, _ in told)


def test_secrets_are_nowhere(site: Remote) -> None:
    """Not in the node's log, its journal, the audit, nor any command line; in the owner's files alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bcsctl", "query", "select count(*) from range(100000000000) a, range(100000) b"],
        env=site.variables("vera"), cwd=site.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_that(lambda: bool(sandboxes(site)))
        lines = [cmdline(int(each)) for each in os.listdir("/proc") if each.isdigit()]
        theirs = [each for pid in (site.node.pid, *workers(site)) for each in [environ(pid)]]
    finally:
        process.kill()
        process.wait()
    kept = {path: path.read_bytes() for path in site.node.home.rglob("*") if path.is_file()}
    audit = site.on_node("query", "select * from audit", "--json").out
    for token in site.tokens.values():
        for secret in (token.encode(), token.rpartition("_")[2].encode()):
            assert not [path for path, content in kept.items() if secret in content]
            assert secret not in audit and not [line for line in lines if secret in line]
            assert not [each for each in theirs if secret in each]
    for user in ("vera", "olga"):
        path = site.folder / user / "bcs" / "credentials.json"
        assert path.stat().st_mode & 0o777 == 0o600 and site.tokens[user] in path.read_text()
        shown = site.run(user, "whoami", "--json")
        assert site.tokens[user] not in shown.text + shown.err


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
