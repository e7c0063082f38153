"""The configuration file: what it says, and each way to say it wrongly."""

from __future__ import annotations

import os
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mytls.configfile import settings_from_file
from mytls.errors import ConfigurationError, ConfigurationErrors
from mytls.keys import GLOBAL_KEYS, HOST_KEYS, LISTENER_KEYS
from mytls.kinds import AUTHORITIES, REVOCATIONS
from mytls.settings import Deadlines, HostSettings, Limits, ListenerSettings, Log, Settings
from mytls.tls.profiles import profile_of
from tests.files import folder
from tests.test_tomllines import calls

TOP = Path(__file__).parent.parent
CONF = TOP / "conf" / "mytls.toml"
EXAMPLES = sorted((TOP / "conf" / "examples").glob("*.toml"))
GUIDE = TOP / "docs" / "configuration.md"
_AT_THE_TOP = ", ".join(key.name for key in GLOBAL_KEYS[""])

#: A listener that is right.
PLAIN = """\
[[listener]]
endpoint = "mytls:8443"
certificate = "a.pem"
handler = "echo"
"""


class FileTests(SynchronousTestCase):
    """A folder with files of these names, and nothing in them."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.path = str(self.folder / "mytls.toml")
        for name in ("a.pem", "b.pem", "c.pem", "ca.pem", "x.crl"):
            (self.folder / name).touch()
        (self.folder / "certificates").mkdir()

    def read(self, text: str) -> Settings:
        """The settings of a file."""
        return settings_from_file(self.path, text.encode("utf-8"))

    def only(self, text: str) -> ListenerSettings:
        """The one listener of a file."""
        (listener,) = self.read(text).listeners
        return listener

    def at(self, *names: str) -> tuple[str, ...]:
        """Files of the folder."""
        return tuple(str(self.folder / name) for name in names)

    def errors(self, text: str | bytes) -> list[str]:
        """All that is said of a file that is wrong, without its name, which stands before each line."""
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        with self.assertRaises(ConfigurationErrors, msg=text) as caught:
            settings_from_file(self.path, content)
        for line in caught.exception.lines:
            self.assertRegex(line, rf"^{re.escape(self.path)}:[0-9]+: [\w\x22\[].*: .")
            self.assertTrue(line.isprintable(), line)
        return [line.removeprefix(f"{self.path}:").replace(str(self.folder), "DIR") for line in caught.exception.lines]


class GoodTests(FileTests):
    """What a file says."""

    def test_one_host(self) -> None:
        """A listener with a certificate is one host, and the file's paths count from its folder."""
        self.assertEqual(
            self.read(PLAIN),
            Settings((ListenerSettings("mytls:8443", HostSettings(certificate=self.at("a.pem"), handler="echo")),)),
        )

    def test_relative_file(self) -> None:
        """Also where the file itself was named from the working directory; the process may leave it later."""
        before = Path.cwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        for path in ("mytls.toml", "./mytls.toml", "certificates/../mytls.toml"):
            (listener,) = settings_from_file(path, PLAIN.encode()).listeners
            self.assertEqual(listener.base.certificate, self.at("a.pem"))

    def test_values_of_the_whole_service(self) -> None:
        """Tables, and the keys above them."""
        made = self.read(
            'keylog = "new.log"\n'
            '[deadlines]\nhandshake = "250ms"\nclose = "off"\nconnect = 0\n'
            "[limits]\nmax-threads = 7\n"
            '[reload]\ninterval = "1m"\n'
            '[log]\nquiet = ["health-checks", "refusals"]\n' + PLAIN
        )
        (keylog,) = self.at("new.log")
        self.assertEqual(
            made,
            Settings(
                made.listeners, Deadlines(0.25, 0, 0), Limits(7), 60.0, Log(quiet=("health-checks", "refusals")), keylog
            ),
        )

    def test_hosts(self) -> None:
        """Each host has what it says, and the rest of its listener."""
        listener = self.only(
            '[[listener]]\nendpoint = "mytls:8443"\nprofile = "modern"\nclient-ca = "ca.pem"\nallow = "all"\n'
            'handler = "echo"\nunknown-name = "Api.Example."\n'
            '[[listener.host]]\nnames = ["API.example", "*.api.example"]\ncertificate = ["a.pem", "b.pem"]\n'
            '[[listener.host]]\nnames = "b.example"\ncertificate = "b.pem"\nprofile = "old"\nclient-auth = "off"\n'
            '[[listener.host]]\nnames = ["c.example"]\nhandler = "passthrough:tcp:127.0.0.1:9443"\n'
            'client-auth = "off"\n'
        )
        clients = {"client_auth": "required", "client_ca": self.at("ca.pem"), "allow": ("all",)}
        self.assertEqual(
            listener.hosts,
            (
                HostSettings(
                    names=("api.example", "*.api.example"),
                    certificate=self.at("a.pem", "b.pem"),
                    profile="modern",
                    handler="echo",
                    **clients,  # type: ignore[arg-type]  # each is of its kind
                ),
                HostSettings(names=("b.example",), certificate=self.at("b.pem"), profile="old", handler="echo"),
                HostSettings(names=("c.example",), handler="passthrough:tcp:127.0.0.1:9443"),
            ),
        )
        self.assertEqual(listener.unknown_name, "api.example")

    def test_folder_of_hosts(self) -> None:
        """A folder stands by itself, or beside hosts that are named."""
        head = '[[listener]]\nendpoint = "mytls:8443"\nhosts = "certificates"\nhandler = "echo"\n'
        (directory,) = self.at("certificates")
        self.assertEqual(self.only(head), ListenerSettings("mytls:8443", HostSettings(handler="echo"), (), directory))
        both = self.only(head + '[[listener.host]]\nnames = ["a"]\ncertificate = "a.pem"\n')
        self.assertEqual((both.directory, len(both.hosts)), (directory, 1))

    def test_several_listeners(self) -> None:
        """In their order, and also of endpoints of others."""
        made = self.read(PLAIN + '[[listener]]\nendpoint = "tcp:80"\nhandler = "discard"\n')
        self.assertEqual(made.listeners[1], ListenerSettings("tcp:80", HostSettings(handler="discard")))

    def test_words_of_the_endpoint_string(self) -> None:
        """They are the listener's values as well, and its hosts have them; their paths count from the folder too."""
        listener = self.only(
            '[[listener]]\nendpoint = "mytls:8443:alpn=h2,http/1.1:certKey=a.pem:handler=echo"\n'
            '[[listener.host]]\nnames = ["a"]\n[[listener.host]]\nnames = ["b"]\nalpn = []\n'
        )
        self.assertEqual([host.alpn for host in listener.hosts], [("h2", "http/1.1"), ()])
        self.assertEqual({host.certificate for host in listener.hosts}, {self.at("a.pem")})
        self.assertEqual(str(listener.hosts[0].wrong("alpn", "h2", "no")), f"{self.path}:2: endpoint: alpn=h2: no")

    def test_other_ways_of_toml(self) -> None:
        """Dotted keys and inline tables say the same."""
        self.assertEqual(
            self.read('deadlines.close = "3s"\nlistener = [{endpoint = "tcp:1", handler = "echo"}]\n'),
            self.read('[deadlines]\nclose = "3s"\n[[listener]]\nendpoint = "tcp:1"\nhandler = "echo"\n'),
        )

    def test_password_of_the_environment(self) -> None:
        """`env:NAME` is no file."""
        self.assertEqual(self.only(PLAIN + 'password-file = "env:SECRET"\n').base.password_file, "env:SECRET")

    def test_same_name_for_other_protocols(self) -> None:
        """Hosts share a name where the protocol tells them apart; one of them may take all others."""
        listener = self.only(
            PLAIN + '[[listener.host]]\nnames = ["a", "A."]\nalpn = ["acme-tls/1"]\n'
            '[[listener.host]]\nnames = ["a"]\nalpn = ["h2", "http/1.1"]\n[[listener.host]]\nnames = ["a"]\n'
        )
        self.assertEqual([host.names for host in listener.hosts], [("a",), ("a",), ("a",)])

    def test_unknown_name_from_a_certificate(self) -> None:
        """Where names are to be read from certificates, any may be the one."""
        for more in ("", '[[listener.host]]\nnames = ["a"]\n[[listener.host]]\ncertificate = "b.pem"\n'):
            self.assertEqual(self.only(f'{PLAIN}unknown-name = "b.example"\n{more}').unknown_name, "b.example")

    def test_later_errors(self) -> None:
        """What is found out later is told with its line: a host's own key, one of its listener, one that is missing."""
        listener = self.only(PLAIN + '[[listener.host]]\nnames = ["a"]\nprofile = "modern"\n')
        (host,) = listener.hosts
        for key, place in (
            ("profile", "7: profile"),
            ("certificate", "3: certificate"),
            ("crl", "5: crl"),
            ("endpoint", "2: endpoint"),
        ):
            self.assertEqual(str(host.wrong(key, "x", "no")), f"{self.path}:{place}=x: no")
        self.assertEqual(
            str(listener.wrong("endpoint", "mytls:8443", "in use")), f"{self.path}:2: endpoint=mytls:8443: in use"
        )

    def test_lines_only_for_errors(self) -> None:
        """A file that is right is parsed once."""
        parsed = calls(self)
        self.read(PLAIN + '[[listener.host]]\nnames = ["a"]\n' + PLAIN.replace("8443", "8444"))
        self.assertEqual(len(parsed), 1)


class MergedTests(FileTests):
    """The command line beside the file."""

    def test_options_win(self) -> None:
        """What was typed wins, key by key."""
        made = self.read('[deadlines]\nclose = "3s"\nconnect = "4s"\n' + PLAIN)
        both = made.merged({"deadlines-close": 9.0, "keylog": "k.log", "log-quiet": ("refusals",)})
        self.assertEqual(
            both, Settings(made.listeners, Deadlines(10, 9, 4), log=Log(quiet=("refusals",)), keylog="k.log")
        )
        self.assertEqual(made.merged({}), made)


class KeyErrorTests(FileTests):
    """Keys and tables that are none, or not there."""

    def test_unknown_key(self) -> None:
        """The nearest is told, also for the word of an endpoint string."""
        self.assertEqual(
            self.errors(PLAIN + 'privat-key = "x"\nclient_auth = "off"\ncertKey = "a.pem"\nzzzz = 1\n'),
            [
                "5: privat-key: no such key; did you mean 'private-key'?",
                "6: client_auth: no such key; did you mean 'client-auth'?",
                "7: certKey: no such key; did you mean 'certificate'?",
                "8: zzzz: no such key",
            ],
        )

    def test_words_of_others(self) -> None:
        """What other programs call it."""
        self.assertEqual(
            self.errors(PLAIN + 'key = "x"\ncert = "x"\nca = "x"\n'),
            [
                "5: key: no such key; did you mean 'private-key'?",
                "6: cert: no such key; did you mean 'certificate'?",
                "7: ca: no such key; did you mean 'client-ca'?",
            ],
        )

    def test_rules_are_not_lost(self) -> None:
        """A host that is passed on cannot keep its listener's rules for clients, and has to say that it means it."""
        trouble = "handler: passthrough: decrypts nothing, so the listener's {} cannot be kept; "
        trouble += 'say client-auth = "off" for this host'
        raw = '[[listener.host]]\nnames = ["raw"]\n'
        for said, words in (
            ('client-ca = "ca.pem"\n', "client-ca"),
            ('client-auth = "required"\n', "client-auth"),
            ('client-ca = "ca.pem"\ncrl = "x.crl"\nallow = "all"\ndeny = "cn=x"\n', "client-ca, crl, allow, deny"),
        ):
            head = PLAIN + said
            line = head.count("\n") + 3
            own = raw + 'handler = "passthrough:tcp:a:1"\n'
            self.assertEqual(self.errors(head + own), [f"{line}: {trouble.format(words)}"])
            self.assertEqual(self.only(head + own + 'client-auth = "off"\n').hosts[0].client_auth, "off")
            of_listener = head.replace('"echo"', '"passthrough:tcp:a:1"') + raw
            self.assertEqual(self.errors(of_listener), [f"{line - 2}: {trouble.format(words)}"])
        in_string = PLAIN.replace("8443", "8443:clientCA=ca.pem") + raw + 'handler = "passthrough:tcp:a:1"\n'
        self.assertEqual(self.errors(in_string), [f"7: {trouble.format('clientCA')}"])
        nobody = PLAIN + 'client-auth = "off"\n' + raw + 'handler = "passthrough:tcp:a:1"\n'
        self.assertEqual(self.only(nobody).hosts[0].names, ("raw",))

    def test_each_of_a_list(self) -> None:
        """Each wrong entry is told, and a wrong name does not hide what else is wrong with the host."""
        host = '[[listener.host]]\nnames = ["a b", "ok", "c d"]\nallow = "all"\nmin-version = "TLSv1.1"\n'
        wrong_name = "is no host name; expected one such as api.example or *.api.example"
        self.assertEqual(
            self.errors(PLAIN.replace('handler = "echo"\n', "") + host.replace('min-version = "TLSv1.1"\n', "")),
            [
                f"5: names: 'a b' {wrong_name}",
                f"5: names: 'c d' {wrong_name}",
                "6: allow=all: of no use while client-auth is off; say required or optional",
            ],
        )
        self.assertEqual(
            self.errors(PLAIN + host)[-1],
            "8: min-version: 'TLSv1.1' is not known here; expected one of: TLSv1.2, TLSv1.3; "
            'older ones come with profile = "old"',
        )
        nobody = PLAIN.replace('handler = "echo"\n', "") + '[[listener.host]]\nnames = "a b"\n'
        self.assertIn("handler: missing", "".join(self.errors(nobody)))

    def test_method_of_twisted(self) -> None:
        """An `ssl:` string keeps its sslmethod in a file; beside another profile it is refused."""
        text = PLAIN.replace("mytls:8443", "ssl:8443:sslmethod=TLSv1_2_METHOD")
        self.assertEqual(profile_of(self.only(text).base).max_version, "TLSv1.2")
        other = self.only(text + 'profile = "old"\n').base
        self.assertIn("it does not go with profile", str(self.assertRaises(ConfigurationError, profile_of, other)))

    def test_backslash(self) -> None:
        """An endpoint string with a backslash in double quotes is no TOML."""
        (line,) = self.errors(PLAIN.replace("mytls:8443", r"mytls:8443:interface=\:\:"))
        self.assertRegex(line, r"^2: not TOML: Unescaped .*line 2, .*\); write the endpoint string in single quotes$")

    def test_unknown_key_of_a_small_table(self) -> None:
        """Where none is near, all are told."""
        self.assertEqual(
            self.errors("[deadlines]\nzzzz = 1\n" + PLAIN),
            [
                "2: zzzz: no such key; expected one of: handshake, close, half-close, connect, idle, lifetime, "
                "drain, policy"
            ],
        )

    def test_proxy_protocol(self) -> None:
        """It is one table of a listener, told with its line where something in it is wrong."""
        self.assertEqual(
            self.errors(PLAIN + 'proxy-protocol = { from = ["10.0.0.0/8", "loadbalancer"] }\n'),
            ["5: proxy-protocol: 'loadbalancer' is no network; expected an address such as 192.0.2.7, or a network "
             "such as 10.0.0.0/8"],
        )  # fmt: skip
        self.assertEqual(
            self.errors(PLAIN + '[listener.proxy-protocol]\nfrm = "unix"\n'),
            ["5: proxy-protocol: 'frm' is not known here; did you mean 'from'?"],
        )
        self.assertEqual(
            self.errors(PLAIN + "[[listener.host]]\nproxy-protocol = { from = 'unix' }\n"),
            ["6: proxy-protocol: belongs in [[listener]]"],
        )

    def test_wrong_table(self) -> None:
        """A key that stands elsewhere is sent there."""
        self.assertEqual(
            self.errors(
                'certificate = "a.pem"\nhandshake = "1s"\n[limits]\nclose = "3s"\nendpoint = "x"\n'
                + PLAIN
                + 'keylog = "k"\n'
                '[[listener.host]]\nendpoint = "mytls:1"\nhosts = "certificates"\nmax-threads = 3\n'
            ),
            [
                "1: certificate: belongs in [[listener]] or [[listener.host]]",
                "2: handshake: belongs in [deadlines]",
                "4: close: belongs in [deadlines]",
                "5: endpoint: belongs in [[listener]] or [status]",
                "10: keylog: belongs at the top of the file, before the first [table]",
                "12: endpoint: belongs in [[listener]] or [status]",
                "13: hosts: belongs in [[listener]]",
                "14: max-threads: belongs in [limits]",
            ],
        )

    def test_names_of_a_listener_with_hosts(self) -> None:
        """Names are one host's."""
        self.assertEqual(
            self.errors(PLAIN + 'names = ["a"]\n[[listener.host]]\nnames = ["b"]\n'),
            ["5: names=a: belongs in [[listener.host]]"],
        )

    def test_unknown_table(self) -> None:
        """The nearest is told, brackets and all."""
        self.assertEqual(
            self.errors(PLAIN + "[deadline]\nx = 1\n[[listener.hots]]\n[listener.hosts]\n[[host]]\n[metrics]\n"),
            [
                "5: deadline: no such table; did you mean '[deadlines]'?",
                "7: hots: no such table; did you mean '[[listener.host]]'?",
                "8: hosts: a table where the path of a folder is expected",
                "9: host: no such table; did you mean '[[listener.host]]'?",
                "10: metrics: no such table; expected one of: [[listener]], [[listener.host]], [deadlines], "
                "[limits], [reload], [log], [status]",
            ],
        )

    def test_single_brackets(self) -> None:
        """`[listener]` is told to be `[[listener]]`."""
        trouble = "expected [[listener]], with two brackets on each side, before the keys of each"
        self.assertEqual(self.errors(PLAIN.replace("[[listener]]", "[listener]")), [f"1: listener: {trouble}"])
        self.assertEqual(self.errors('[[listener.host]]\nnames = ["a"]\n'), [f"1: listener: {trouble}"])
        self.assertEqual(self.errors("listener = 3\n"), [f"1: listener: {trouble}"])
        self.assertEqual(self.errors("listener = [3]\n"), [f"1: listener: {trouble}"])
        self.assertEqual(
            self.errors(PLAIN + "[listener.host]\n"),
            ["5: host: expected [[listener.host]], with two brackets on each side, before the keys of each"],
        )

    def test_no_table(self) -> None:
        """A table for the whole service is one table."""
        self.assertEqual(
            self.errors("deadlines = 3\n[[log]]\n" + PLAIN),
            ["1: deadlines: expected one table, [deadlines]", "2: log: expected one table, [log]"],
        )

    def test_no_listener(self) -> None:
        """A file that serves nothing is an error."""
        line = "1: [[listener]]: there is none; expected at least one, with endpoint, certificate and handler"
        for text in ("", "# nothing\n", '[deadlines]\nclose = "3s"\n', "listener = []\n"):
            self.assertEqual(self.errors(text), [line], text)

    def test_missing(self) -> None:
        """A listener has an endpoint; each host has a handler and a certificate."""
        self.assertEqual(
            self.errors('[[listener]]\nhandler = "echo"\n\n[[listener]]\nendpoint = "mytls:1"\n'),
            [
                "1: endpoint: missing; expected a server endpoint string such as mytls:8443",
                "4: handler: missing; expected a handler string such as proxy:tcp:127.0.0.1:8080",
                "4: certificate: missing; expected the file with the certificate and its chain",
            ],
        )

    def test_missing_in_hosts(self) -> None:
        """Who has one of the listener's needs none, nor who passes on; a folder has them, and an agent issues them."""
        self.assertEqual(
            self.errors(
                '[[listener]]\nendpoint = "mytls:1"\n'
                '[[listener.host]]\nnames = ["a"]\ncertificate = "a.pem"\n'
                '[[listener.host]]\nnames = ["b"]\nhandler = "echo"\n'
                '[[listener.host]]\nnames = ["c"]\nhandler = "passthrough:tcp:b:1"\n'
                '[[listener]]\nendpoint = "mytls:2"\nhosts = "certificates"\n'
                '[[listener]]\nendpoint = "tcp:3"\n'
                '[[listener]]\nendpoint = "mytls:4"\nspiffe = "unix:/agent"\nhandler = "echo"\n'
            ),
            [
                "3: handler: missing; expected a handler string such as proxy:tcp:127.0.0.1:8080",
                "6: certificate: missing; expected the file with the certificate and its chain",
                "12: handler: missing; expected a handler string such as proxy:tcp:127.0.0.1:8080",
                "15: handler: missing; expected a handler string such as proxy:tcp:127.0.0.1:8080",
            ],
        )


class ValueErrorTests(FileTests):
    """Keys with wrong values."""

    def test_types(self) -> None:
        """What is expected is told in words of the file."""
        self.assertEqual(
            self.errors(
                "keylog = 3\n[limits]\nmax-threads = '5'\n" + PLAIN + "profile = 'modrn'\nalpn = 'h2,http/1.1'\n"
                "client-auth = true\nnames = [\n  'a',\n  3,\n]\nocsp = ''\ngroups = {}\n"
            ),
            [
                "1: keylog: an integer where the path of a file is expected",
                "3: max-threads: a string where a whole number from 1 on is expected",
                "8: profile: 'modrn' is not known here; did you mean 'modern'?",
                "9: alpn: 'h2,http/1.1' is no application protocol; expected one such as h2 or http/1.1",
                "10: client-auth: a boolean where one of off, optional, required is expected",
                "11: names: an array where an array of host names is expected",
                "15: ocsp: '' is no path of a file",
                "16: groups: a table where an array of strings is expected",
            ],
        )

    def test_endpoint_of_another_type(self) -> None:
        """An endpoint that is no string is wrong, and not missing."""
        self.assertEqual(
            self.errors(PLAIN.replace('"mytls:8443"', "8443")), ["2: endpoint: an integer where a string is expected"]
        )

    def test_units(self) -> None:
        """A duration has its unit."""
        self.assertEqual(
            self.errors('[deadlines]\nclose = 3\nconnect = "3"\nhandshake = 1.5\n' + PLAIN),
            [
                '2: close: 3 has no unit; expected for example "3s" or "5m"',
                '3: connect: 3 has no unit; expected for example "3s" or "5m"',
                '4: handshake: a float where a duration such as "10s" is expected',
            ],
        )

    def test_quiet(self) -> None:
        """What the log cannot be quiet about."""
        self.assertEqual(
            self.errors('[log]\nquiet = ["conections"]\n' + PLAIN),
            ["2: quiet: 'conections' is not known here; did you mean 'connections'?"],
        )

    def test_endpoint_strings(self) -> None:
        """What is wrong in an endpoint string stands at the line of the string."""
        for endpoint, line in (
            ("", "2: endpoint: expected a server endpoint string such as mytls:8443"),
            (":8443", "2: endpoint: expected a server endpoint string such as mytls:8443"),
            ("mytls", "2: endpoint: expected a port or over=ENDPOINT, as in mytls:8443"),
            ("mytls:http", "2: endpoint: port: 'http' is not a port; expected a number from 0 to 65535"),
            ("mytls:1:alpm=h2", "2: endpoint: alpm= is no word of mytls:; did you mean 'alpn'?"),
            ("ssl:1:\\\\\\\\\\\\", "2: endpoint: the string ends in the middle of a backslash pair"),
            ("mytls:1:certKey=b.pem", "3: certificate: said in the endpoint string too"),
            ("mytls:1:privateKey=k.pem", "2: endpoint: privateKey=DIR/k.pem: no such file"),
            ("mytls:1:deny=all", "2: endpoint: deny=all: of no use while client-auth is off; say required or optional"),
            ("tcp:1", "3: certificate: of no use with tcp:, to which mytls adds no TLS; expected one of: ssl, mytls"),
            ("mtls:1", "3: certificate: of no use with mtls:, to which mytls adds no TLS; did you mean 'mytls'?"),
        ):
            self.assertEqual(self.errors(PLAIN.replace("mytls:8443", endpoint)), [line], endpoint)

    def test_tls_of_hosts_without_tls(self) -> None:
        """A plain endpoint has no hosts."""
        self.assertEqual(
            self.errors('[[listener]]\nendpoint = "tcp:1"\nhandler = "echo"\n[[listener.host]]\nnames = ["a"]\n'),
            ["4: [[listener.host]]: of no use with tcp:, to which mytls adds no TLS"],
        )

    def test_places_without_names(self) -> None:
        """A place is known by its address too, also where the string says it without the word."""
        other = "".join(
            f'[[listener]]\nendpoint = "{each}"\nhandler = "echo"\n' for each in ("tcp:1:127.0.0.1", "tcp:1:127.0.0.2")
        )
        self.assertEqual(len(self.read(other).listeners), 2)
        self.assertEqual(
            self.errors(other + '[[listener]]\nendpoint = "tcp:1:interface=127.0.0.2"\nhandler = "echo"\n'),
            ["8: endpoint: the listener of line 5 is there already"],
        )
        tls = "".join(
            f'[[listener]]\nendpoint = "mytls:1:a.pem:a.pem:TLS_METHOD:127.0.0.{each}"\nhandler = "echo"\n'
            for each in "12"
        )
        self.assertEqual(len(self.read(tls).listeners), 2)

    def test_same_place(self) -> None:
        """No two listeners are at one place; ports that the system chooses are never the same."""
        tables = [PLAIN.replace("mytls:8443", each) for each in ("mytls:1", "ssl:1", "mytls:0", "mytls:0", "mytls:2")]
        self.assertEqual(self.errors("".join(tables)), ["6: endpoint: the listener of line 2 is there already"])

    def test_files(self) -> None:
        """Every file that is read has to be there, and a folder where a folder is read."""
        self.assertEqual(
            self.errors(
                PLAIN.replace('"a.pem"', '["a.pem", "none.pem"]') + 'private-key = "certificates"\n'
                'password-file = "p"\nclient-ca = ["ca.pem", "b.pem/ca.pem"]\ncrl = "nul\\u0000.crl"\nocsp = "o"\n'
                'hosts = "a.pem"\n[[listener.host]]\nnames = ["a"]\ncertificate = "c/c.pem"\n'
                '[[listener]]\nendpoint = "mytls:2"\nhosts = "no"\nhandler = "echo"\n'
            ),
            [
                "3: certificate=DIR/none.pem: no such file",
                "5: private-key=DIR/certificates: a folder where a file is expected",
                "6: password-file=DIR/p: no such file",
                "7: client-ca=DIR/b.pem/ca.pem: cannot be read: Not a directory",
                "8: crl=DIR/nul\\x00.crl: no such file",
                "9: ocsp=DIR/o: no such file",
                "10: hosts=DIR/a.pem: not a folder",
                "13: certificate=DIR/c/c.pem: no such file",
                "16: hosts=DIR/no: no such folder",
            ],
        )

    def test_files_to_wait_for(self) -> None:
        """Whoever waits for a file that is not there is told its path."""
        missing: list[str] = []
        text = PLAIN.replace("a.pem", "none.pem") + 'crl = "x.crl"\nclient-ca = "no-ca.pem"\n'
        with self.assertRaises(ConfigurationErrors):
            settings_from_file(self.path, text.encode(), missing.append)
        self.assertEqual(sorted(missing), sorted(self.at("none.pem", "no-ca.pem")))

    def test_key_log_need_not_be_there(self) -> None:
        """It is written, and not read."""
        self.assertEqual(self.read('keylog = "new"\n' + PLAIN).keylog, self.at("new")[0])


class ContradictionTests(FileTests):
    """Values that do not go together."""

    def test_of_a_host(self) -> None:
        """Each is told where it stands: in the host, or in the listener that the host has it from."""
        self.assertEqual(
            self.errors(
                PLAIN + 'min-version = "TLSv1.3"\n'
                '[[listener.host]]\nnames = ["a"]\nallow = ["cn=a"]\n'
                '[[listener.host]]\nnames = ["b"]\nmax-version = "TLSv1.2"\n'
                '[[listener.host]]\nnames = ["c"]\nclient-auth = "required"\n'
            ),
            [
                "5: min-version=TLSv1.3: newer than the newest, TLSv1.2",
                "8: allow=cn=a: of no use while client-auth is off; say required or optional",
                "14: client-auth=required: no CA to verify clients with; say client-ca, or allow by spki= alone",
            ],
        )

    def test_who_may_enter(self) -> None:
        """So is what a host has of its listener and cannot use, and what cannot be of any use to anybody."""
        pins = 'client-auth = "required"\nallow = ["spki=sha256:x"]\n'
        self.assertEqual(
            self.errors(PLAIN + pins + "verify-depth = 1\n"), ["7: verify-depth=1: of no use without client-ca"]
        )
        self.assertEqual(
            self.errors(PLAIN + "from = []\n"),
            ["5: from: there is none in it, so nobody could connect; leave it out for everywhere"],
        )
        self.assertEqual(
            self.errors(PLAIN + 'from = ["10.0.0.1/8", "a"]\n'),
            [
                "5: from: '10.0.0.1/8' is an address in a network; expected 10.0.0.0/8 for the network, "
                "or 10.0.0.1 for the address",
                "5: from: 'a' is no network; expected an address such as 192.0.2.7, or a network such as 10.0.0.0/8",
            ],
        )
        self.assertEqual(
            self.errors(PLAIN + 'rego-query = "data.a"\n'),
            ["5: rego-query=data.a: there is no policy to ask; say rego"],
        )

    def test_nothing_in_it(self) -> None:
        """Nobody turns off what a listener says of its clients by a list with nothing in it."""
        verified = PLAIN + 'client-ca = "ca.pem"\nallow = ["cn=x"]\n'
        host = '[[listener.host]]\nnames = ["a"]\n'
        self.assertEqual(self.errors(PLAIN + "client-ca = []\n"), [f"5: client-ca: {AUTHORITIES.none}"])
        self.assertEqual(self.errors(verified + "crl = []\n"), [f"7: crl: {REVOCATIONS.none}"])
        self.assertEqual(self.errors(verified + host + "client-ca = []\n"), [f"9: client-ca: {AUTHORITIES.none}"])
        self.assertEqual(
            self.errors(verified + host + 'allow = []\npolicy = "a:b"\n'),
            ["9: allow=[]: there is no rule in it, and yet clients would enter; say all to mean that"],
        )
        (made,) = self.only(verified + host + "allow = []\n").hosts
        self.assertEqual((made.client_auth, made.allow), ("required", ()))

    def test_policy_that_is_passed_on(self) -> None:
        """A listener's policy cannot be asked about who is passed on, whatever the host says of certificates."""
        host = '[[listener.host]]\nnames = ["a"]\nhandler = "passthrough:tcp:b:1"\nclient-auth = "off"\n'
        self.assertEqual(
            self.errors(PLAIN + 'policy = "a:b"\n' + host),
            [
                "8: handler: passthrough: decrypts nothing, so the listener's policy cannot be kept; "
                "say it in the other hosts"
            ],
        )

    def test_where_from(self) -> None:
        """A listener's networks are its own; a host may have others besides, also one that is passed on."""
        host = '[[listener.host]]\nnames = ["a"]\nhandler = "passthrough:tcp:b:1"\nfrom = "10.1.0.0/16"\n'
        (listener,) = self.read(
            PLAIN + 'from = ["10.0.0.0/8"]\n' + host + '[[listener.host]]\nnames = ["b"]\n'
        ).listeners
        self.assertEqual([str(each) for each in listener.base.from_], ["10.0.0.0/8"])
        self.assertEqual([[str(each) for each in host.from_] for host in listener.hosts], [["10.1.0.0/16"], []])

    def test_where_from_without_tls(self) -> None:
        """A plain listener has them too."""
        (listener,) = self.read('[[listener]]\nendpoint = "tcp:1"\nhandler = "echo"\nfrom = "10.0.0.0/8"\n').listeners
        self.assertEqual([str(each) for each in listener.base.from_], ["10.0.0.0/8"])

    def test_the_same_for_many(self) -> None:
        """What a listener says wrongly is told once, however many hosts have it."""
        hosts = "".join(f'[[listener.host]]\nnames = ["h{number}"]\n' for number in range(20))
        self.assertEqual(
            self.errors(f'{PLAIN}allow = ["all"]\n{hosts}'),
            ["5: allow=all: of no use while client-auth is off; say required or optional"],
        )

    def test_a_wrong_value_contradicts_nothing(self) -> None:
        """Where a value is wrong, what would follow from leaving it out is not told."""
        self.assertEqual(
            self.errors(PLAIN + 'allow = ["all"]\nclient-ca = "ca.pem"\nclient-auth = "requird"\n'),
            ["7: client-auth: 'requird' is not known here; did you mean 'required'?"],
        )

    def test_a_wrong_host_is_the_only_trouble(self) -> None:
        """What is wrong in one host is told once, and nothing else of it or of the others."""
        self.assertEqual(
            self.errors(
                PLAIN.replace('handler = "echo"\n', "") + 'unknown-name = "a"\n'
                '[[listener.host]]\nnmes = ["a"]\nallow = ["all"]\n[[listener.host]]\nnames = ["b"]\nhandler = "echo"\n'
            ),
            ["6: nmes: no such key; did you mean 'names'?"],
        )

    def test_names(self) -> None:
        """Hosts of one name have protocols that tell them apart."""
        trouble = "a.example is a name of the host in line 5 too; only different alpn lists could tell them apart"
        hosts = "".join(
            f"[[listener.host]]\nnames = {names}\nalpn = {{}}\n" for names in ("'a.example'", "['b', 'A.example.']")
        )
        for one, other in (("[]", "[]"), ('["h2"]', '["h2"]'), ('["h2", "http/1.1"]', '["http/1.1", "h3"]')):
            self.assertEqual(self.errors(PLAIN + hosts.format(one, other)), [f"9: names: {trouble}"], (one, other))
        self.assertEqual(
            self.errors(PLAIN + 'alpn = "h2"\n' + hosts.replace("alpn = {}\n", "")),
            [f"9: names: {trouble.replace('5', '6')}"],
        )

    def test_names_of_other_listeners(self) -> None:
        """Each listener has its own."""
        host = '[[listener.host]]\nnames = ["a"]\n'
        self.assertEqual(len(self.read(PLAIN + host + PLAIN.replace("8443", "8444") + host).listeners), 2)

    def test_unknown_name(self) -> None:
        """It is one of the hosts', or `reject`."""
        hosts = '[[listener.host]]\nnames = ["api.example", "*.example"]\n'
        for name in ("reject", "api.example", "*.example", "API.example."):
            self.only(f'{PLAIN}unknown-name = "{name}"\n{hosts}')
        self.assertEqual(
            self.errors(f'{PLAIN}unknown-name = "apl.example"\n{hosts}'),
            ["5: unknown-name=apl.example: no host has this name; did you mean 'api.example'?"],
        )
        self.assertEqual(
            self.errors(f'{PLAIN}unknown-name = "b"\nnames = ["a"]\n'),
            ["5: unknown-name=b: no host has this name; expected one of: reject, a"],
        )
        self.assertEqual(
            self.errors(f'{PLAIN}unknown-name = "a b"\n'),
            ["5: unknown-name: 'a b' is no host name; expected one such as api.example or *.api.example"],
        )

    def test_folder_and_certificate(self) -> None:
        """A certificate that nobody would show."""
        self.assertEqual(
            self.errors(PLAIN + 'hosts = "certificates"\n'),
            ["3: certificate=DIR/a.pem: of no use with hosts, whose folder has the certificates"],
        )


class LineTests(FileTests):
    """Errors as they are told."""

    def test_all_at_once(self) -> None:
        """Everything that is wrong is told, in the order of the file."""
        self.assertEqual(
            [
                line.split(":")[0]
                for line in self.errors(
                    'kelog = "x"\n[deadlines]\nclose = 3\n[[listener]]\nendpoint = "mytls:http"\ncertificate = "none"\n'
                    '[[listener]]\nendpoint = "tcp:1"\nalpn = ["h2"]\n[[listener]]\nhandler = "echo"\n'
                    '[[listener.host]]\nnmaes = ["a"]\n[[listener.host]]\nnames = "a"\ncertificate = "none"\n'
                    + PLAIN
                    + 'unknown-name = "z"\nnames = ["y"]\n'
                )
            ],
            ["1", "3", "5", "6", "9", "10", "13", "16", "21"],
        )

    def test_one_text(self) -> None:
        """The error's text has a line for each."""
        with self.assertRaises(ConfigurationError) as caught:
            self.read("a = 1\nb = 2\n")
        self.assertEqual(str(caught.exception).split("\n"), list(caught.exception.lines))
        self.assertEqual(len(caught.exception.lines), 2)

    def test_file_as_typed(self) -> None:
        """The file has the name that the user has given it, made to print."""
        for path, shown in (("./m.toml", "./m.toml"), ("a:1:b\n.toml", "a:1:b\\x0a.toml")):
            with self.assertRaises(ConfigurationErrors) as caught:
                settings_from_file(path, (PLAIN + 'allow = "all"\nx = 1\n').encode())
            self.assertEqual(
                [line.rpartition(".pem")[0] or line for line in caught.exception.lines][1:],
                [f"{shown}:6: x: no such key"],
            )
            self.assertTrue(caught.exception.lines[0].startswith(f"{shown}:3: certificate="))

    def test_what_does_not_print(self) -> None:
        """Whatever is in a file, its errors are lines that a terminal only shows."""
        lines = self.errors('"a\\nb\\u001b[31m" = 1\n' + PLAIN.replace("echo", "ec\\u0007ho") + 'profile = "\\u2028"\n')
        self.assertEqual(
            lines,
            [
                f"1: a\\x0ab\\x1b[31m: no such key; expected one of: {_AT_THE_TOP}",
                "6: profile: '\\u2028' is not known here; expected one of: modern, intermediate, old",
            ],
        )

    def test_empty_names(self) -> None:
        """Keys and tables may have no name at all in TOML; ours all have one."""
        for text, line in (
            ('[""]\n', '1: "": no such table'),
            ('[["".""]]\n', '1: "": no such table'),
            ('"" = 1\n', f'1: "": no such key; expected one of: {_AT_THE_TOP}'),
        ):
            (found,) = self.errors(text + PLAIN)
            self.assertTrue(found.startswith(line), found)

    def test_not_utf8(self) -> None:
        """Bytes that are no text."""
        self.assertRefused(PLAIN.encode() + b'alpn = "\xff"\n', "5: not UTF-8: the byte 0xff")

    def test_not_toml(self) -> None:
        """Text that is no TOML."""
        self.assertRefused(PLAIN.encode() + b"alpn = [\n", "5: not TOML: Invalid value (at end of document)")

    def assertRefused(self, content: bytes, line: str) -> None:
        """Assert that this is the one error of a file."""
        self.assertEqual(self.errors(content), [line])

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(st.data())
    def test_any_mistake(self, data: Any) -> None:
        """Whatever is cut out of a file or put into it, it is settings or errors, each with its line."""
        text = CONF.read_text(encoding="utf-8").replace("# ", data.draw(st.sampled_from(["# ", ""])))
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        changed = text[:start] + data.draw(st.text(alphabet="[]{}\"'=,.\n #a1-", max_size=4)) + text[end:]
        try:
            settings_from_file("m.toml", changed.encode())
        except ConfigurationErrors as error:
            for line in error.lines:
                self.assertRegex(line, r"^m\.toml:[0-9]+: ")


def names_of_files(document: Any) -> list[str]:
    """The files that a document names, whose content does not matter here."""
    keys = {key.name for key in (*HOST_KEYS, *LISTENER_KEYS) if key.kind.files}
    found: list[str] = []
    tables = [table for each in document["listener"] for table in (each, *each.get("host", []))]
    for table in tables:
        for name in keys & table.keys():
            value = table[name]
            found.extend([f"{value}/"] if name == "hosts" else [value] if isinstance(value, str) else value)
    return found


class ShippedTests(SynchronousTestCase):
    """The files in conf/ and in the guide."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.made = runpy.run_path(str(TOP / "docs" / "make_reference.py"))

    def read(self, text: str) -> Settings:
        """The settings of a file, with all the files beside it that it names."""
        for name in names_of_files(tomllib.loads(text)):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.touch()
        return settings_from_file(str(self.folder / "mytls.toml"), text.encode("utf-8"))

    def test_up_to_date(self) -> None:
        """conf/mytls.toml is what the table of keys says."""
        self.assertEqual(CONF.read_text(encoding="utf-8"), self.made["conf"](), "run: python docs/make_reference.py")

    def test_it_loads(self) -> None:
        """With a certificate beside it, it is what one service needs, and all else is the default."""
        made = self.read(CONF.read_text(encoding="utf-8"))
        (listener,) = made.listeners
        self.assertEqual(made, Settings(made.listeners))
        self.assertEqual(
            {name for name, value in tomllib.loads(CONF.read_text(encoding="utf-8"))["listener"][0].items()},
            {"endpoint", "certificate", "private-key", "handler"},
        )
        self.assertEqual(listener.hosts, ())

    def test_every_key_loads(self) -> None:
        """With every comment mark before a key or a table taken away it is right as well, and has every key."""
        text = re.sub(r"^# (?=\[|[a-z-]+ = )", "", CONF.read_text(encoding="utf-8"), flags=re.MULTILINE)
        self.read(text)
        document = tomllib.loads(text)
        (listener,) = document["listener"]
        for table, keys in GLOBAL_KEYS.items():
            self.assertLessEqual({key.name for key in keys}, (document[table] if table else document).keys())
        (host,) = listener["host"]
        self.assertEqual({key.name for key in (*LISTENER_KEYS, *HOST_KEYS)}, (listener.keys() | host.keys()) - {"host"})

    def test_defaults_as_they_are(self) -> None:
        """A default that is a value is that value: saying it changes nothing."""
        text = CONF.read_text(encoding="utf-8")
        plain = self.read(text)
        for key in (key for keys in GLOBAL_KEYS.values() for key in keys if not key.example):
            line = f"{key.name} = {self.made['value'](key)}\n"
            self.assertEqual(text.count(f"\n# {line}"), 1)
            self.assertEqual(self.read(text.replace(f"# {line}", line)), plain, line)

    def test_every_sentence(self) -> None:
        """Each key stands below what it does."""
        lines = CONF.read_text(encoding="utf-8").splitlines()
        for key in (*HOST_KEYS, *LISTENER_KEYS, *(key for keys in GLOBAL_KEYS.values() for key in keys)):
            found = [at for at, line in enumerate(lines) if re.match(rf"(# )?{key.name} = ", line)]
            above = [" ".join(line.removeprefix("# ") for line in lines[at - 4 : at]) for at in found]
            self.assertTrue(any(key.sentence in each for each in above), key)

    def test_examples(self) -> None:
        """Each is a whole file."""
        self.assertEqual([path.stem for path in EXAMPLES], ["client-side", "many-hosts", "mutual-tls", "one-service"])
        for path in EXAMPLES:
            self.assertGreater(len(self.read(path.read_text(encoding="utf-8")).listeners), 0, path.name)

    def test_guide(self) -> None:
        """Each piece of a file in the guide is right."""
        pieces = re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        self.assertGreater(len(pieces), 4)
        for piece in pieces:
            if "# wrong" not in piece:
                self.read(piece)

    def test_errors_of_the_guide(self) -> None:
        """And what it shows as wrong is told as it shows it."""
        text = GUIDE.read_text(encoding="utf-8")
        (wrong,) = re.findall(r"^```toml\n(# wrong\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
        _, _, after = text.partition(wrong)
        told = re.findall(r"^```text\n(.*?)^```$", after, re.MULTILINE | re.DOTALL)[0]
        with self.assertRaises(ConfigurationErrors) as caught:
            settings_from_file("/etc/mytls/mytls.toml", wrong.encode())
        self.assertEqual(list(caught.exception.lines), told.splitlines())
