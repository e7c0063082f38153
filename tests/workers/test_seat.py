"""What a worker has from its parent."""

from __future__ import annotations

import os
import sys

from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.seat import NOTHING, Passed, Seat, without_seat
from mytls.workers.sharing import adopted_name, is_ours, number_adopted, tcp_name, unix_name


class PassedTests(SynchronousTestCase):
    """What the parent passes on is what the worker takes."""

    def passed(self, sockets: dict[str, int], of_systemd: tuple[str, ...] = ()) -> Passed:
        """To worker 2 of 3, whose channel is 50."""
        return Passed.to(2, 3, 50, sockets, of_systemd, nothing=99)

    def test_as_systemd_passes_them(self) -> None:
        """The sockets are 3, 4 and so on, with as many names; then comes the channel."""
        sockets = {tcp_name("", 443): 10, unix_name("/run/x"): 11}
        passed = self.passed(sockets)
        self.assertEqual(dict(passed.descriptors), {3: 10, 4: 11, 5: 50})
        self.assertEqual(passed.environ["LISTEN_FDS"], "2")
        self.assertEqual(passed.environ["LISTEN_FDNAMES"].split(":"), list(sockets))

    def test_those_of_systemd_keep_their_numbers(self) -> None:
        """What systemd has passed to the parent is at the same place; what of it nobody serves is nothing."""
        sockets = {tcp_name("", 443): 10, adopted_name(4): 11}
        passed = self.passed(sockets, ("web", "mail"))
        self.assertEqual(dict(passed.descriptors), {3: 99, 4: 11, 5: 10, 6: 50})
        self.assertEqual(passed.environ["LISTEN_FDNAMES"].split(":"), [NOTHING, "mail", tcp_name("", 443)])

    def test_names_have_no_colons(self) -> None:
        """A colon would end the name, and those of different places differ."""
        names = [
            tcp_name("", 443),
            tcp_name("::", 443),
            tcp_name("", 4430),
            unix_name("/run/a:b"),
            unix_name(b"/run/a"),
        ]
        self.assertFalse([name for name in names if ":" in name or not is_ours(name)])
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual((number_adopted(adopted_name(7)), number_adopted(names[0])), (7, None))

    def test_nobody_s_worker(self) -> None:
        """A process that was given no seat has none, and keeps its environment."""
        environ = {"LISTEN_FDNAMES": "web", "HOME": "/"}
        self.assertIsNone(Seat.taken(environ))
        self.assertEqual(environ, {"LISTEN_FDNAMES": "web", "HOME": "/"})

    def test_environment_without_a_seat(self) -> None:
        """A worker is not told of the sockets that its parent was started with."""
        passed = self.passed({tcp_name("", 443): 10})
        self.assertEqual(without_seat({**passed.environ, "LISTEN_PID": "1", "HOME": "/"}), {"HOME": "/"})

    def test_taken(self) -> None:
        """A worker knows its number and its sockets by their names, and its own children hear nothing of it."""
        program = (
            "import os\nfrom mytls.workers.seat import Seat\nseat = Seat.taken(os.environ)\n"
            "print(seat.number, seat.workers, seat.channel, sorted(seat.sockets.items()))\n"
            "print([os.get_inheritable(each) for each in (3, 4, 5)])\n"
            "print([each for each in os.environ if each.startswith(('MYTLS_WORKER', 'MYTLS_CHANNEL', 'LISTEN_FDN'))])\n"
        )
        passed = self.passed({"mytls-a": 10, adopted_name(3): 11}, ("web",))
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            for descriptor in passed.descriptors:
                os.dup2(writing, descriptor)
            os.dup2(writing, 1)
            os.execve(sys.executable, [sys.executable, "-c", program], {**os.environ, **passed.environ})
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read().splitlines()
        os.waitpid(child, 0)
        self.assertEqual(said, ["2 3 5 [('inherited-3', 3), ('mytls-a', 4)]", "[False, False, False]", "[]"])
