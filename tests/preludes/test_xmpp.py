"""XMPP until STARTTLS: RFC 6120."""

from __future__ import annotations

import re
from functools import partial

from mytls.errors import Cause
from mytls.preludes import ask, prelude
from mytls.preludes.dialogue import Dialogue, PreludeFailure
from tests.preludes.talks import TalkTests, fed

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to=\"im.example\" version='1.0'>"
)
SERVER_HEADER = HEADER.replace(b" to=", b" from=").replace(b'" version', b"\" id='NUMBER' version")
FEATURES = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
)
START = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
LATER = b"STARTTLS comes first"
server = partial(prelude, "xmpp", "im.example")
client = partial(ask, "xmpp", "im.example")


def error(condition: bytes, text: bytes) -> bytes:
    """A stream's error, and its end."""
    where = b"xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
    return b"<stream:error><%b %b/><text %b>%b</text></stream:error></stream:stream>" % (condition, where, where, text)


def numbered(said: bytes) -> bytes:
    """What a server says, without the number of its stream, which is another each time."""
    return re.sub(rb" id='[0-9a-f]{16}'", b" id='NUMBER'", said)


class ServerTests(TalkTests):
    """A server until STARTTLS."""

    def assert_opens(self, dialogue: Dialogue, header: bytes, size: int = 0) -> None:
        """The client's header has the server's as its answer."""
        self.assertEqual(dialogue.begin(), b"")
        self.assertEqual(numbered(fed(dialogue, header, size)), SERVER_HEADER + FEATURES)

    def assert_ends(self, heard: bytes, condition: bytes, text: bytes) -> None:
        """What is heard in the stream ends it."""
        dialogue = server()
        self.assert_opens(dialogue, HEADER)
        failure = self.assertRaises(PreludeFailure, dialogue.feed, heard)
        self.assertEqual((failure.cause, failure.answer), (Cause.NOT_TLS, error(condition, text)))
        self.assertEqual(failure.detail, text.decode())

    def test_starttls(self) -> None:
        """A client that opens a stream hears that there is STARTTLS and nothing else, and gets it."""
        for size in (0, 1, 7):
            dialogue = server()
            self.assert_opens(dialogue, HEADER, size)
            self.assertEqual(fed(dialogue, START, size), PROCEED)
            self.assertTrue(dialogue.done)

    def test_other_spellings(self) -> None:
        """XML is XML: another prefix, an element that is closed by itself, a blank between two, a tag in a value."""
        header = (
            b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' to='IM.example'"
            b" from='a>b' version='1.0'>"
        )
        dialogue = server()
        self.assert_opens(dialogue, header)
        start = b" \n<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'><t:required/></t:starttls >"
        self.assertEqual(dialogue.feed(start), PROCEED)

    def test_names(self) -> None:
        """The server has the name that it is asked for, as far as that is one; each stream has its own number."""
        for asked, name in {b"chat.example": b"chat.example", b"a'&lt;b": b"im.example", b"": b"im.example"}.items():
            dialogues = server(), server()
            said = [(each.begin(), each.feed(HEADER.replace(b"im.example", asked)))[1] for each in dialogues]
            self.assertIn(b' from="%b" ' % name, said[0])
            self.assertNotEqual(*said)
            self.assertEqual(*map(numbered, said))

    def test_everything_else_comes_later(self) -> None:
        """Before TLS nobody logs in."""
        sasl = b"urn:ietf:params:xml:ns:xmpp-sasl"
        for heard in (b"<auth xmlns='%b'>AGEAYg==</auth>" % sasl, b"<iq/>", b"<starttls/>", b"<message><body/>"):
            self.assert_ends(heard, b"policy-violation", LATER)

    def test_xml_that_is_none(self) -> None:
        """What is no XML ends the stream, and so does what streams may not have in them (section 11.1)."""
        self.assert_ends(b"</a>", b"not-well-formed", b"this is no XML")
        self.assert_ends(b"<a b=c>", b"not-well-formed", b"this is no XML")
        for heard in (b"<!-- a -->", b"<?a b?>"):
            self.assert_ends(heard, b"restricted-xml", b"this is no XML that a stream may have in it")

    def assert_never_opens(self, heard: bytes, condition: bytes, text: bytes) -> None:
        """What is heard is no stream; the error stands in one all the same."""
        dialogue = server()
        dialogue.begin()
        failure = self.assertRaises(PreludeFailure, dialogue.feed, heard)
        self.assertEqual(numbered(failure.answer), SERVER_HEADER + error(condition, text))

    def test_no_stream(self) -> None:
        """Another's stream, such as a server's, is none of ours."""
        for heard in (HEADER.replace(b"jabber:client", b"jabber:server"), b"<html>", HEADER.replace(b"etherx", b"x")):
            self.assert_never_opens(heard, b"invalid-namespace", b"this is no stream of a client of XMPP")
        self.assert_never_opens(b"GET / HTTP/1.1\r\n>", b"not-well-formed", b"this is no XML")

    def test_document_type(self) -> None:
        """No document type is read, and so no entity ever."""
        text = b"this is no XML that a stream may have in it"
        self.assert_never_opens(b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + HEADER, b"restricted-xml", text)

    def test_goodbye(self) -> None:
        """Who closes the stream is answered in kind."""
        dialogue = server()
        self.assert_opens(dialogue, HEADER)
        failure = self.assertRaises(PreludeFailure, dialogue.feed, b"</stream:stream>")
        self.assertEqual((failure.cause, failure.answer), (Cause.EOF, b"</stream:stream>"))

    def test_injection(self) -> None:
        """A stanza behind STARTTLS ends the stream, or the beginning of one, or a blank (section 5.3.3)."""
        for more in (b"<auth/>", b"<", b" ", HEADER):
            self.assert_ends(START + more, b"policy-violation", b"there is more in the clear behind STARTTLS")


class ClientTests(TalkTests):
    """A client until STARTTLS."""

    def test_starttls(self) -> None:
        """The client opens a stream, sees that there is STARTTLS among other things, and asks for it."""
        plain = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
        features = FEATURES.replace(b"</stream:", plain + b"</stream:")
        self.assert_talk(client, HEADER, [(SERVER_HEADER, b""), (features, START), (PROCEED, b"")])

    def test_refusals(self) -> None:
        """A server that offers none is left, one that says no or something else too."""
        bare = SERVER_HEADER + b"<stream:features/>"
        self.assert_fails(client, bare, b"", "it does not offer STARTTLS")
        self.assert_fails(client, b"<html>", b"", "this is no stream of a client of XMPP")
        told = r'it says "{}" where proceed is expected'
        failure = PROCEED.replace(b"proceed", b"failure")
        shown = told.format(r"urn:ietf:params:xml:ns:xmpp-tls\x20failure")
        self.assert_fails(client, SERVER_HEADER + FEATURES + failure, START, shown)
        shown = told.format(r"http://etherx.jabber.org/streams\x20error")
        self.assert_fails(client, SERVER_HEADER + b"<stream:error><a/></stream:error>", b"", shown)

    def test_agreement_that_was_not_asked_for(self) -> None:
        """A server that agrees to nothing is left."""
        shown = r'it says "urn:ietf:params:xml:ns:xmpp-tls\x20proceed" where proceed is expected'
        self.assert_fails(client, SERVER_HEADER + PROCEED, b"", shown)

    def test_end_of_stream(self) -> None:
        """A server that closes the stream is left."""
        self.assert_fails(client, SERVER_HEADER + b"</stream:stream>", b"", "it closes the stream")

    def test_injection(self) -> None:
        """A stanza in the clear behind the agreement ends the connection."""
        heard = SERVER_HEADER + FEATURES + PROCEED + b"<stream:features/>"
        self.assert_fails(client, heard, START, "there is more in the clear behind STARTTLS")

    def test_welcome(self) -> None:
        """There is no greeting."""
        self.assertEqual(client().welcome, b"")
