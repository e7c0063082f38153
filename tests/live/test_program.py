"""Programs behind TLS: `exec:` in a real process, with real clients."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import select
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from OpenSSL import SSL

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, receive, trusting
from tests.live.processes import PATIENCE, TWISTD, Running, run, serving, until
from tests.live.test_proxy import HalfClosing

#: What stands in the log when it listens; a handler's string has spaces.
READY = r"serving .+ at (\S+)"
BULK = 10_000_000


@contextmanager
def running(certificates: Certificates, command: str, *more: str, **words: str) -> Iterator[tuple[Running, int]]:
    """
    A service of one program.

    @param more: options
    @param words: more of the endpoint
    @return: its twistd, and its port
    """
    endpoint = certificates.ecdsa.endpoint(**words)
    with serving("--endpoint", endpoint, "--handler", f"exec:{command}", *more, ready=READY) as server:
        yield server, int(re.findall(READY, server.log)[0].rpartition(":")[2])


def everything(client: ssl.SSLSocket) -> bytes:
    """All that comes until the server's close_notify."""
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def children(server: Running) -> list[int]:
    """The processes that it has started, zombies too."""
    return [
        int(each) for each in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    ]


def descriptors(server: Running) -> int:
    """How many descriptors it has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def is_there(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ten_megabytes_go_both_ways_at_once(certificates: Certificates) -> None:
    """All of it comes back as it was sent, while both ends are at it, and memory stays bounded."""
    data = os.urandom(BULK)
    with running(certificates, "/bin/cat") as (server, port):
        with connected(port, trusting(certificates.root)) as client:
            before = server.peak_memory()
            heard = full_duplex(client, data)
            assert hashlib.sha256(heard).digest() == hashlib.sha256(data).digest()
            assert server.peak_memory() - before < 8 << 20
        until(lambda: not children(server), "cat has ended")


def full_duplex(client: ssl.SSLSocket, data: bytes) -> bytearray:
    """Send it all, and read meanwhile. @return: as many bytes as were sent"""
    heard, said = bytearray(), memoryview(data)
    client.setblocking(False)
    while len(heard) < len(data):
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            said = said[client.send(said[: 1 << 16]) :] if said else said
        try:
            heard += client.recv(1 << 16)
        except ssl.SSLWantReadError:
            ready = select.select([client], [client] if said else [], [], PATIENCE)
            assert any(ready), f"{len(heard)} bytes have come, and nothing moves"
    return heard


def test_a_client_that_does_not_read_pauses_its_program(certificates: Certificates) -> None:
    """A program that writes for ever is held by a client that does not read; memory stays bounded."""
    with running(certificates, "/usr/bin/yes") as (server, port):
        with connected(port, trusting(certificates.root)) as client:
            before = server.peak_memory()
            receive(client, 2)
            (yes,) = children(server)
            said = [-1]

            def waits() -> bool:
                said.append(written(yes))
                return said[-1] == said[-2]

            until(waits, "the program waits")
            assert said[-1] < 32 << 20  # what the buffers of the two sockets hold, and ours
            assert server.peak_memory() - before < 8 << 20
        until(lambda: not children(server), "the program has ended with its client")


def written(pid: int) -> int:
    """How many bytes a process has written."""
    found = re.search(r"^wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def half_closed(port: int, question: bytes) -> bytes:
    """Say it and close_notify, then listen until the server's close_notify. @return: the answer"""
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    plain.setblocking(True)
    with plain:
        client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), plain)
        client.set_tlsext_host_name(b"localhost")
        client.set_connect_state()
        client.do_handshake()
        client.sendall(question)
        client.shutdown()
        heard = b""
        while True:
            try:
                heard += client.recv(1 << 16)
            except SSL.ZeroReturnError:
                return heard


def test_the_clients_end_is_the_end_of_the_input(certificates: Certificates) -> None:
    """A program that answers when it has read all of its input does so, and the client hears all of it."""
    data = os.urandom(1_000_000)
    with running(certificates, "/usr/bin/sha256sum") as (server, port):
        assert half_closed(port, data).split()[0].decode() == hashlib.sha256(data).hexdigest()
        server.wait_for(r"\] closed .* clean")


def test_a_truncated_input_is_none(certificates: Certificates, tmp_path: Path) -> None:
    """A client that is cut off has said nothing whole: the program is ended before it takes it for that."""
    result = tmp_path / "result"
    with running(certificates, f"/bin/sh -c 'cat >/dev/null; echo whole >{result}'") as (server, port):
        with connected(port, trusting(certificates.root)) as client:
            client.sendall(b"half a quest")
            until(lambda: bool(children(server)), "the program runs")
        until(lambda: not children(server), "the program has ended")
        assert not result.exists()


def test_what_a_program_has_started_is_ended_with_its_client(certificates: Certificates) -> None:
    """TERM is for the whole group; who ignores it is killed after the close deadline."""
    script = 'trap "" TERM; sleep 1000 & echo $$ $!; wait; sleep 1000'
    endpoint = certificates.ecdsa.endpoint()
    words = ("--endpoint", endpoint, "--handler", f"exec:/bin/sh -c '{script}'", "--deadlines-close", "1s")
    with serving(*words, ready=READY) as server:
        port = int(re.findall(READY, server.log)[0].rpartition(":")[2])
        with connected(port, trusting(certificates.root)) as client:
            line = b""
            while not line.endswith(b"\n"):
                line += client.recv(100)
            pids = [int(each) for each in line.split()]
            assert all(map(is_there, pids))
        until(lambda: not any(map(is_there, pids)), "both have ended")
        until(lambda: not children(server), "there is no zombie")


def test_a_program_that_fails(certificates: Certificates) -> None:
    """
    Its output arrives, and no goodbye behind it; its status is one line of the log, with the client's address and the
    program, and the cause of the connection's end.
    """
    with running(certificates, "/bin/sh -c 'echo half; exit 3'") as (server, port):
        with connected(port, trusting(certificates.root)) as client:
            assert receive(client, 5) == b"half\n"
            with pytest.raises(ssl.SSLEOFError):
                client.recv(1)
        server.wait_for(r"\] closed .* cause=handler \(the program ended with exit status 3\)")
        server.wait_for(r"/bin/sh\[\d+\] for 127\.0\.0\.1:\d+: it ended with exit status 3\n")
        assert server.log.count("exit status 3\n") == 1


def test_standard_error_is_lines_of_the_log(certificates: Certificates) -> None:
    """A hundred megabytes of it harm nobody: the log has some lines and a count, and the answer comes."""
    script = "yes complaint | head -c 100000000 >&2; echo done"
    with running(certificates, f"/bin/sh -c '{script}'") as (server, port):
        with connected(port, trusting(certificates.root)) as client:
            assert everything(client) == b"done\n"
        server.wait_for(r"/bin/sh\[\d+\] for 127\.0\.0\.1:\d+: \(\d+ lines more, left out\)")
        assert server.log.count(": complaint\n") < 1000
        assert server.peak_memory() < 200 << 20


def test_a_hostile_certificate_is_one_line_of_the_environment(certificates: Certificates, tmp_path: Path) -> None:
    """Whatever a client's name is, it is one variable, and no shell runs it."""
    clients = trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    leaf = clients.issue_cert("client.example", common_name="() { :; }; touch x\nSSL_CLIENT_VERIFY=\\")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = trusting(certificates.root)
    context.load_cert_chain(tmp_path / "client.pem")
    words = {"clientCA": str(tmp_path / "clients.pem"), "allow": "all", "prefix": "mytls"}
    with running(certificates, "/usr/bin/env", **words) as (_, port), connected(port, context) as client:
        lines = everything(client).decode().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    assert found["SSL_CLIENT_CN"] == r"\28) { :; }; touch x\0ASSL_CLIENT_VERIFY=\5C"
    assert found["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert found["SSL_CLIENT_SAN_DNS_0"] == "client.example"
    assert (found["PROTO"], found["TCPREMOTEIP"], found["TCPLOCALPORT"]) == ("TCP", "127.0.0.1", str(port))


def test_one_too_many(certificates: Certificates) -> None:
    """Who comes beyond max-processes is turned away for that cause; when one has ended there is room again."""
    words = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", "exec:/bin/cat", "--limits-max-processes", "1")
    context = trusting(certificates.root)
    with serving(*words, ready=READY) as server:
        port = int(re.findall(READY, server.log)[0].rpartition(":")[2])
        with connected(port, context) as first:
            assert asks_and_hears(first, b"in")
            with connected(port, context) as second, pytest.raises(ssl.SSLEOFError):
                second.recv(1)
            server.wait_for(r"cause=limit \(1 of the program runs, and limits\.max-processes is 1\)")
        until(lambda: not children(server), "the first has ended")
        with connected(port, context) as third:
            assert asks_and_hears(third, b"in")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_another_user(certificates: Certificates) -> None:
    """A program may be another user's; a service that is not root any more can become nobody but itself."""
    nobody, daemon = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
    shed = ("--uid", str(nobody.pw_uid), "--gid", str(nobody.pw_gid))
    cases = (
        ("user=daemon ", (), f"{daemon.pw_uid} {daemon.pw_gid}\n", ""),
        ("user=nobody ", shed, f"{nobody.pw_uid} {nobody.pw_gid}\n", ""),
        ("", shed, f"{nobody.pw_uid} {nobody.pw_gid}\n", ""),
        ("", (), "0 0\n", "runs as root for each client"),
        ("user=daemon ", shed, "", "mytls is not root any more, to become its user"),
    )
    for user, options, expected, line in cases:
        handler = f"exec:{user}/bin/sh -c 'echo `id -u` `id -g`'"
        words = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", handler)
        with serving(*words, options=options, ready=READY) as server:
            port = int(re.findall(READY, server.log)[0].rpartition(":")[2])
            with connected(port, trusting(certificates.root)) as client:
                assert receive(client, len(expected)).decode("ascii") == expected
                with suppress(ssl.SSLEOFError):
                    assert client.recv(1) == b""
            lines = [each for each in server.log.splitlines() if "root" in each]
            assert [line in each for each in lines] == [True] * bool(line), lines


def test_many_in_turn_leave_nothing(certificates: Certificates) -> None:
    """After hundreds of clients there is no zombie, and no descriptor more than before."""
    times = 1000 if os.environ.get("MYTLS_LONG") else 200
    context = trusting(certificates.root)
    with running(certificates, "/bin/echo hello") as (server, port):
        for at in range(times + 1):
            with connected(port, context) as client:
                assert everything(client) == b"hello\n"
            if at == 0:
                until(lambda: not children(server), "the first has ended")
                before = descriptors(server)
        until(lambda: not children(server) and descriptors(server) <= before, "nothing is left")


def test_the_service_stops(certificates: Certificates) -> None:
    """Programs hear the end of their input and finish; who does not want to is killed with the service."""
    script = 'trap "" TERM; echo $$; read line; echo finished; sleep 1000'
    context = trusting(certificates.root)
    told = ("--deadlines-drain", "1s", "--deadlines-close", "2s")
    with running(certificates, f"/bin/sh -c '{script}'", *told) as (server, port), connected(port, context) as client:
        pid = int(client.recv(100))
        server.process.send_signal(signal.SIGTERM)
        assert receive(client, 9) == b"finished\n"
        server.wait()
        until(lambda: not is_there(pid), "the program was killed")


def test_a_program_that_has_said_all_hears_the_rest(certificates: Certificates, tmp_path: Path) -> None:
    """It closes its output and reads on: the client hears that end, and what it says later still arrives, all of it."""
    script = f"echo ready; exec >&-; wc -c > {tmp_path / 'heard'}"
    with running(certificates, f"/bin/sh -c '{script}'") as (_, port):
        client = HalfClosing(port)
        assert (client.recv(100), client.recv(100)) == (b"ready\n", b"")
        client.sendall(b"x" * 100_000)
        client.end()
        client.socket.close()
        until(lambda: (tmp_path / "heard").read_text() == "100000\n", "the program has read all")


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        ("", "there is no program"),
        ("cat", "'cat' is no absolute path"),
        ("/nowhere/program", "there is no such file"),
        ("user=nobody-knows /bin/cat", "there is no such user"),
    ],
)
def test_a_command_that_cannot_be_run_is_told_at_the_start(command: str, trouble: str) -> None:
    """It is one line, and nothing listens."""
    ended = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", "--handler", f"exec:{command}")
    assert ended.returncode != 0
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if trouble in line]
    assert len(lines) == 1
    assert "Traceback" not in ended.stdout + ended.stderr
