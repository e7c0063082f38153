"""`twistd mytls`: what is typed, checked to the last word before anything listens."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import mytls
from mytls import assemble
from mytls.keys import OPTION_KEYS
from mytls.tap import Options, makeService
from mytls.workers.roles import Single
from tests.files import folder, write_pair
from tests.lines import log_lines
from tests.memory import Link
from twisted.plugins import mytls_plugin


class OptionsTests(SynchronousTestCase):
    """A folder to type the command in, and a reactor in memory."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.key, self.chain = write_pair(self.folder)
        self.state = self.folder / "state"
        self.reactor: Any = MemoryReactorClock()
        self.patch(assemble, "_global_reactor", lambda: self.reactor)
        self.patch(sys, "path", list(sys.path))
        self.patch(os, "environ", os.environ | {"XDG_STATE_HOME": str(self.state)})
        before = Path.cwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

    def typed(self, *words: str) -> Options:
        """The options of `twistd mytls WORDS`."""
        options = Options()
        options.parseOptions(list(words))
        return options

    def running(self, *words: str) -> IService:
        """The service of these words, started."""
        service = makeService(self.typed(*words))
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)  # else its loop would be watched still
        return service

    def error(self, *words: str) -> str:
        """What is said of wrong words, without the program's name: one line, status 1, nothing listening."""
        with self.assertRaises(SystemExit, msg=words) as caught:
            self.typed(*words)
        code = caught.exception.code
        assert isinstance(code, str), f"the status is {code!r}, and nothing is said"
        self.assertEqual(len(code.splitlines()), 1, code)
        self.assertTrue(code.isprintable(), code)
        self.assertTrue(code.startswith("mytls: "), code)
        self.assertEqual((self.reactor.tcpServers, self.reactor.unixServers), ([], []))
        return code.removeprefix("mytls: ").replace(str(self.folder), "DIR")

    def printed(self, *words: str) -> str:
        """What words print that end the program well."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        with self.assertRaises(SystemExit) as caught:
            self.typed(*words)
        self.assertIn(caught.exception.code, (0, None))
        return out.getvalue()

    def ssl(self, more: str = "") -> str:
        """An endpoint string that is right, but for what is added."""
        return f"ssl:8443:privateKey={self.key}:certKey={self.chain}{more}"


class GoodTests(OptionsTests):
    """What serves."""

    def test_service(self) -> None:
        """An endpoint and a handler are served."""
        self.running("--endpoint", self.ssl(), "--handler", "echo")
        ((port, factory, _, _),) = self.reactor.tcpServers
        self.assertEqual(port, 8443)
        link = Link(factory=factory)
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")

    def test_nothing_listens_before_the_start(self) -> None:
        """Options that are read start nothing."""
        self.typed("--endpoint", self.ssl())
        self.assertEqual(self.reactor.tcpServers, [])

    def test_several_endpoints(self) -> None:
        """`--endpoint`, or `-e`, may be repeated, and each takes any endpoint string."""
        self.running("-e", self.ssl(), "-e", "tcp:8080:interface=127.0.0.1", "--endpoint", "unix:/run/x.sock")
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [8443, 8080])
        self.assertEqual([each[0] for each in self.reactor.unixServers], ["/run/x.sock"])

    def test_deadlines(self) -> None:
        """The deadlines of the command line are those of the connections."""
        self.running("--endpoint", self.ssl(), "--deadlines-handshake", "2s", "--deadlines-close", "250ms")
        factory = self.reactor.tcpServers[0][1]
        self.assertEqual((factory.handshake.seconds, factory.close.seconds), (2, 0.25))

    def test_on_reload(self) -> None:
        """What a reload does with clients who are there can be said of endpoint strings too."""
        for words, expected in ((("--reload-on-reload", "close"), "close"), ((), "keep")):
            made = self.typed("--endpoint", self.ssl(), *words).service
            assert made is not None
            self.assertEqual(made.plan.settings.on_reload, expected)
        self.assertRegex(
            self.error("--reload-on-reload", "cut"), "^--reload-on-reload: 'cut' is not known here; expected"
        )

    def test_plaintext(self) -> None:
        """Plaintext on a network is refused, but for who says that it may be."""
        words = ("--endpoint", "tcp:5432", "--handler", "proxy:mytls:db.example:5433")
        self.assertEqual(
            self.error(*words),
            "--handler proxy:mytls:db.example:5433: tcp:5432 takes plaintext from a network, for "
            "mytls:db.example:5433; --unsafe-plaintext lets it",
        )
        self.running(*words, "--unsafe-plaintext")
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [5432])

    def test_check_shows_who_may_enter(self) -> None:
        """`--check` shows where clients may connect from, and the keys that may enter."""
        pin = "sha256:" + "A" * 43 + "="
        words = rf":from=10.0.0.0/8,\:\:1:clientAuth=required:allow=spki={pin}".replace("sha256:", r"sha256\:")
        shown = self.printed("--endpoint", self.ssl(words).replace("ssl:", "mytls:"), "--check")
        for line in ("from 10.0.0.0/8", "from ::1/128", f"allow spki={pin}"):
            self.assertIn(line, shown)

    def test_modules_of_this_folder(self) -> None:
        """A module in the folder that the command was typed in is found."""
        name = f"typed_here_{os.getpid()}"
        self.addCleanup(sys.modules.pop, name, None)
        Path(f"{name}.py").write_text("from twisted.internet.protocol import Factory\nchat = Factory()\n")
        self.typed("--endpoint", self.ssl(), "--handler", f"factory:{name}:chat")

    def test_relative_files(self) -> None:
        """Files are looked for in that folder."""
        self.typed("--endpoint", "ssl:8443:privateKey=localhost.key:certKey=localhost.pem")

    def test_hangup_while_it_loads(self) -> None:
        """A reload that is asked for too early is not the end of the program."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.typed("--endpoint", self.ssl())
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_roll_without_workers(self) -> None:
        """USR2 is nothing; nor is it ignored by the programs that are started, which have what was ignored here."""
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        self.typed("--endpoint", self.ssl())
        self.assertNotIn(signal.getsignal(signal.SIGUSR2), (signal.SIG_IGN, signal.SIG_DFL))
        os.kill(os.getpid(), signal.SIGUSR2)

    def test_who_can_be_succeeded(self) -> None:
        """Where twistd runs it: with the words before and behind the command, and the names of systemd's sockets."""
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        words = ["--endpoint", self.ssl()]
        options, parent = Options(), usage.Options()
        parent.update(pidfile="/run/pid", nodaemon=1)
        parent.subCommand = "mytls"
        options.parent = parent
        self.patch(sys, "argv", ["twistd", "-n", "mytls", *words])
        os.environ["LISTEN_FDNAMES"] = "web"
        os.environ["NOTIFY_SOCKET"] = "/run/notify"
        options.parseOptions(words)
        assert isinstance(options.role, Single)
        lineage = options._lineage()
        assert lineage is not None
        self.assertEqual(lineage.relaunch.program()[4:], ["-n", "--nodaemon", "--pidfile=", "mytls", *words])
        self.assertEqual((lineage.relaunch.of_systemd, lineage.relaunch.why_not), (("web",), ""))
        self.assertEqual(lineage.relaunch.environ["NOTIFY_SOCKET"], "/run/notify")
        self.assertEqual(lineage.pidfile.path, "/run/pid")

    def test_check_makes_nothing(self) -> None:
        """`--check` leaves no file behind, no key log either, and says where that would be refused."""
        before = sorted(self.folder.iterdir())
        self.printed("--endpoint", self.ssl(), "--keylog", "keys.log", "--check")
        self.assertEqual(sorted(self.folder.iterdir()), before)
        self.assertEqual(
            self.error("--endpoint", self.ssl(), "--keylog", "none/keys.log", "--check"),
            "--keylog=none/keys.log: cannot be written: no such folder",
        )


class DevelopmentTests(OptionsTests):
    """With nothing at all."""

    def test_serves(self) -> None:
        """Echo on 127.0.0.1:8443 with a certificate of its own, kept in the state folder."""
        self.running()
        ((port, factory, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8443, "127.0.0.1"))
        link = Link(factory=factory)
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")
        self.assertTrue((self.state / "mytls" / "ca.pem").exists())

    def test_command(self) -> None:
        """One line of the log connects to it, when it is pasted."""
        lines = log_lines(self)
        self.running()
        (line,) = [each for each in lines if each.startswith("connect with: ")]
        words = shlex.split(line.removeprefix("connect with: "))
        self.assertEqual(
            words,
            [
                "openssl", "s_client", "-connect", "localhost:8443", "-CAfile", str(self.state / "mytls" / "ca.pem"),
                "-verify_return_error", "-verify_hostname", "localhost",
            ],
        )  # fmt: skip

    def test_state_folder_with_colons(self) -> None:
        """A path of any letters is one word of the endpoint string and of the command."""
        self.state = self.folder / "a:b=c d\\e'f"
        self.patch(os, "environ", os.environ | {"XDG_STATE_HOME": str(self.state)})
        lines = log_lines(self)
        self.running()
        self.assertIn(str(self.state / "mytls" / "ca.pem"), shlex.split(lines[-1].replace("connect with: ", "")))

    def test_not_with_an_endpoint(self) -> None:
        """Who says where to listen gets no certificate made, and no line."""
        lines = log_lines(self)
        self.running("--endpoint", self.ssl())
        self.assertFalse(self.state.exists())
        self.assertEqual([each for each in lines if "connect with" in each], [])

    def test_with_a_handler(self) -> None:
        """Who says what to do only gets the rest."""
        self.running("--handler", "discard")
        self.assertEqual(self.reactor.tcpServers[0][0], 8443)

    def test_state_folder_in_the_way(self) -> None:
        """Where it cannot be kept, that is one line."""
        self.state.write_text("in the way")
        self.assertEqual(self.error(), "the development certificate cannot be kept in DIR/state/mytls: Not a directory")


class ErrorTests(OptionsTests):
    """Every error is one line that names the word, before anything listens."""

    def test_unknown_option(self) -> None:
        """The nearest option is told."""
        self.assertEqual(self.error("--endpiont", "x"), "unknown option --endpiont; did you mean '--endpoint'?")
        self.assertEqual(self.error("--handle-r", "x"), "unknown option --handle-r; did you mean '--handler'?")
        self.assertEqual(self.error("-z"), "unknown option -z; --help lists them")

    def test_no_value(self) -> None:
        """An option that needs a value says so."""
        self.assertRegex(self.error("--endpoint"), "^option --endpoint requires argument")

    def test_word_without_an_option(self) -> None:
        """What stands alone is told where it belongs."""
        self.assertEqual(self.error("8443"), "unexpected word '8443'; endpoints are given with --endpoint")

    def test_two_handlers(self) -> None:
        """There is one handler."""
        self.assertEqual(
            self.error("--handler", "echo", "--handler", "discard"),
            "--handler discard: a handler was given already: echo",
        )

    def test_wrong_values(self) -> None:
        """A value is told with its option."""
        self.assertEqual(
            self.error("--deadlines-handshake", "10"),
            '--deadlines-handshake: 10 has no unit; expected for example "10s" or "5m"',
        )
        self.assertRegex(
            self.error("--limits-max-threads", "0"), "^--limits-max-threads: '0' is not a number; expected "
        )

    def test_endpoints(self) -> None:
        """What is wrong with an endpoint stands behind the endpoint as it was typed."""
        for written, line in (
            ("", "there is no endpoint type ''"),
            ("tpc:80", "there is no endpoint type 'tpc'; did you mean 'tcp'?"),
            ("ssl:http", "port: 'http' is not a port; expected a number from 0 to 65535"),
            ("ssl", "expected a port, as in ssl:8443"),
            ("SSL:8443", "privateKey=server.pem: no such file"),
            ("ssl:8443:privateKey=none.pem", "privateKey=none.pem: no such file"),
            (
                "ssl:8443:privateKey=localhost.pem",
                "privateKey=localhost.pem: there is no private key in it; expected PEM or PKCS#12",
            ),
            ("ssl:8443:privateKey=localhost.key:certKey=.", "certKey=.: cannot be read: Is a directory"),
            ("mytls:8443:privatKey=x", "privatKey= is no word of mytls:; did you mean 'privateKey'?"),
            ("ssl:1:a=b:a=c", "a= stands twice"),
            ("tcp:80\\", "the string ends in the middle of a backslash pair"),
        ):
            said = self.error("--endpoint", self.ssl(), "--endpoint", written)
            self.assertTrue(said.startswith(f"--endpoint {written}: {line}"), said)

    def test_handlers(self) -> None:
        """And so does what is wrong with a handler."""
        for written, line in (
            ("ecoh", "there is no handler 'ecoh'; did you mean 'echo'?"),
            ("call:nowhere:x", "there is no module 'nowhere' in this folder or on the path"),
            ("call:os:pth", "module 'os' has no 'pth'; did you mean 'path'?"),
            ("factory:os:sep", "expected a factory or a protocol class, not str"),
        ):
            self.assertEqual(self.error("--endpoint", self.ssl(), "--handler", written), f"--handler {written}: {line}")

    def test_one_line_whatever_is_typed(self) -> None:
        """Newlines, escapes and bytes of no letter are shown, not obeyed."""
        for words in (
            ("--endpoint", "tcp\n:\x1b[31m80"),
            ("--endpoint", "ssl:8443:privateKey=a\nb"),
            ("--handler", "ec\rho"),
            ("--handler", "call:os:a\nb"),
            ("--no\nsuch", "x"),
            ("a\nb\udcff",),
            ("--deadlines-close", "1\n"),
        ):
            self.error(*words)


class InformationTests(OptionsTests):
    """Options that only tell."""

    def test_version(self) -> None:
        """`--version` prints the version."""
        self.assertEqual(self.printed("--version"), f"mytls {mytls.__version__}\n")

    def test_help(self) -> None:
        """`--help` has every option, with its default and what it does, and the handlers."""
        text = " ".join(self.printed("--help").split())
        for key in OPTION_KEYS:
            self.assertIn(f"--{key.word}{' ' if key.kind.flag else '='}", text)
            self.assertTrue(key.kind.flag or f"[default: {key.default or 'nothing'}]" in text)
        for words in ("--endpoint=", "--handler=", "--version", "[default: echo]", "call:package.module:function"):
            self.assertIn(words, text)


class PluginTests(SynchronousTestCase):
    """What twistd finds."""

    def test_service_maker(self) -> None:
        """`twistd mytls` is this module's options and service."""
        maker: Any = mytls_plugin.service_maker
        self.assertTrue(IPlugin.providedBy(maker))
        self.assertEqual((maker.tapname, maker.options, maker.makeService), ("mytls", Options, makeService))
