"""OCSP responses, and whose they are."""

from __future__ import annotations

import datetime
import errno

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.files import Files
from mytls.tls.staples import Staple, staples
from tests.files import folder
from tests.tls.issuing import DAY, Party, files, pem, write

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


def refusing() -> bytes:
    """What a responder answers that has no time."""
    made = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    return made.public_bytes(Encoding.DER)


class StapleTests(SynchronousTestCase):
    """Two certificates of one authority."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.authority = Party("Authority")
        self.one = Party("one.example").certified(self.authority)
        self.two = Party("two.example").certified(self.authority)
        self.leaves = [(self.one, [self.path("one.pem")]), (self.two, [self.path("two.pem")])]

    def path(self, name: str) -> str:
        """A path in the folder."""
        return str(self.folder / name)

    def answer(
        self,
        name: str,
        certificate: x509.Certificate,
        status: ocsp.OCSPCertStatus = GOOD,
        end: datetime.timedelta | None = DAY,
    ) -> bytes:
        """A response in a file."""
        made = self.authority.answering(certificate, status, end)
        write(self.folder / name, made)
        return made

    def staples(self, *said: str, reader: Files | None = None) -> list[Staple]:
        """What is sent with the two, their notes without the folder's path."""
        settings = HostSettings(ocsp=tuple(map(self.path, said)))
        found = staples(settings, self.leaves, reader or files())
        return [Staple(each.response, tuple(self.plain(note) for note in each.notes)) for each in found]

    def plain(self, text: str) -> str:
        """A text without the folder's path."""
        return text.replace(str(self.folder), "DIR")

    def refused(self, line: str, *said: str) -> None:
        """Assert that these files are refused."""
        with self.assertRaises(ConfigurationError) as caught:
            self.staples(*said)
        self.assertEqual(self.plain(str(caught.exception)), line)


class SaidTests(StapleTests):
    """Files that the user has named."""

    def test_each_its_own(self) -> None:
        """Each certificate has the response of its serial number, in whatever order they are named."""
        one, two = self.answer("1", self.one), self.answer("2", self.two)
        self.assertEqual(self.staples("2", "1"), [Staple(one), Staple(two)])
        self.assertEqual(self.staples("2"), [Staple(), Staple(two)])

    def test_no_end(self) -> None:
        """A response that says nothing of newer ones is sent."""
        one = self.answer("1", self.one, end=None)
        self.assertEqual(self.staples("1"), [Staple(one), Staple()])

    def test_old(self) -> None:
        """A response past its nextUpdate is not sent, and the operator is told."""
        self.answer("1", self.one, end=-DAY)
        note = "the OCSP response in DIR/1 ended on 2026-05-31 and is not sent: get a new one"
        self.assertEqual(self.staples("1"), [Staple(None, (note,)), Staple()])

    def test_not_good(self) -> None:
        """A response that says that the certificate is not good."""
        for status, word in ((REVOKED, "revoked"), (UNKNOWN, "unknown")):
            self.answer("1", self.one, status)
            self.refused(
                f"ocsp=DIR/1: the responder says that the certificate is {word}; serve another certificate", "1"
            )

    def test_of_another(self) -> None:
        """A response for a certificate that is not served."""
        self.answer("3", Party("three.example").certified(self.authority))
        self.refused("ocsp=DIR/3: the response is for none of the certificates", "3")

    def test_twice(self) -> None:
        """Two for one certificate."""
        self.answer("1", self.one)
        self.answer("again", self.one)
        self.refused("ocsp=DIR/again: for the same certificate as DIR/1; leave one out", "1", "again")

    def test_none_at_all(self) -> None:
        """A file that is missing, is something else, or a responder's refusal."""
        self.refused("ocsp=DIR/none: no such file", "none")
        for content in (b"", b"text", pem(self.one), self.one.public_bytes(Encoding.DER)):
            write(self.folder / "wrong", content)
            self.refused("ocsp=DIR/wrong: not an OCSP response; expected DER", "wrong")
        write(self.folder / "later", refusing())
        self.refused("ocsp=DIR/later: the responder has answered try later; get a new response", "later")

    def test_nothing_beside(self) -> None:
        """Where files are named, others are not looked for."""
        self.answer("one.pem.ocsp", self.one)
        two = self.answer("2", self.two)
        self.assertEqual(self.staples("2"), [Staple(), Staple(two)])


class BesideTests(StapleTests):
    """Files beside the certificates."""

    def test_beside(self) -> None:
        """The file with `.ocsp` at the end of the certificate's name, where there is one."""
        one = self.answer("one.pem.ocsp", self.one)
        self.assertEqual(self.staples(), [Staple(one), Staple()])

    def test_one_that_comes(self) -> None:
        """Where there is none, one that comes is a change."""
        reader = files()
        self.staples(reader=reader)
        self.assertFalse(reader.changed())
        self.answer("two.pem.ocsp", self.two)
        self.assertTrue(reader.changed())

    def test_together(self) -> None:
        """Certificates of one file share the file beside it, and it is one's: that is nothing to tell."""
        both = [self.path("both.pem")]
        self.leaves = [(self.one, both), (self.two, both)]
        two = self.answer("both.pem.ocsp", self.two)
        self.assertEqual(self.staples(), [Staple(), Staple(two)])

    def test_several_places(self) -> None:
        """A certificate that is in several files has its response beside any of them."""
        self.leaves = [(self.one, [self.path("fullchain.pem"), self.path("cert.pem")])]
        one = self.answer("cert.pem.ocsp", self.one)
        self.assertEqual(self.staples(), [Staple(one)])

    def test_of_another(self) -> None:
        """The response of the certificate before the last renewal is not sent, and stops nothing."""
        self.answer("one.pem.ocsp", Party("one.example").certified(self.authority))
        note = "DIR/one.pem.ocsp is not sent: the response is for another certificate; get one for this"
        self.assertEqual(self.staples(), [Staple(None, (note,)), Staple()])

    def test_old(self) -> None:
        """Nor is one past its nextUpdate."""
        self.answer("one.pem.ocsp", self.one, end=-DAY)
        note = "the OCSP response in DIR/one.pem.ocsp ended on 2026-05-31 and is not sent: get a new one"
        self.assertEqual(self.staples(), [Staple(None, (note,)), Staple()])

    def test_wrong(self) -> None:
        """Nor is one that is none, or says nothing good."""
        revoked = self.authority.answering(self.one, REVOKED)
        for content, trouble in (
            (b"text", "not an OCSP response; expected DER"),
            (revoked, "the responder says that the certificate is revoked; serve another certificate"),
            (refusing(), "the responder has answered try later; get a new response"),
        ):
            write(self.folder / "one.pem.ocsp", content)
            self.assertEqual(self.staples()[0], Staple(None, (f"DIR/one.pem.ocsp is not sent: {trouble}",)))

    def test_unreadable(self) -> None:
        """Nor is one that cannot be read."""

        def refuse(path: str) -> bytes:
            raise PermissionError(errno.EACCES, "Permission denied")

        reader = files()
        self.patch(reader, "maybe", refuse)
        note = "DIR/one.pem.ocsp is not sent: it cannot be read: Permission denied"
        self.assertEqual(self.staples(reader=reader)[0], Staple(None, (note,)))
