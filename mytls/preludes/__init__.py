"""
What is said in the clear before TLS begins: STARTTLS, on both sides and in each of its dialects.

    dialogue = prelude("smtp", "mail.example")   # as a server; as a client: ask("smtp", "mail.example")
    write(dialogue.begin())
    write(dialogue.feed(data))                   # raises PreludeFailure, which has the last words
    dialogue.done                                # the next byte is TLS's; dialogue.rest may have some already

Behind a prelude there is a backend that is spoken to without one. What it says to a client that has had a greeting:

  smtp, imap, pop3   a greeting again: L{Greeting} keeps it, and the client's bytes wait for it. The client asks again
                     what the server is able to, and the backend's answer is the true one. That must not offer
                     STARTTLS, and must let clients in that have no TLS, as it sees them.
  sieve              what it is able to, which is what a client waits for after STARTTLS (RFC 5804 section 2.2)
  postgres, ldap     nothing until it is asked. The client's StartupMessage, or its next request, is the first.
  xmpp               nothing until it is asked. The client begins its stream anew.

On the client's side the same, mirrored: the server has greeted in the clear, which must not be believed, and whoever
has the connection now waits for a greeting. C{dialogue.welcome} is one to begin with, as if it had come under TLS; it
is empty where none is waited for.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mytls.preludes import imap, ldap, pop3, postgres, sieve, smtp, xmpp
from mytls.preludes.dialogue import Dialogue, Script

_SERVERS: dict[str, Callable[[bytes], Script]] = {
    "smtp": smtp.server,
    "imap": imap.server,
    "pop3": pop3.server,
    "sieve": sieve.server,
    "postgres": lambda name: postgres.server(),
    "ldap": lambda name: ldap.server(),
    "xmpp": xmpp.server,
}
_CLIENTS: dict[str, Callable[[bytes, bytes], Script]] = {
    "smtp": smtp.client,
    "imap": lambda name, own: imap.client(name),
    "pop3": lambda name, own: pop3.client(name),
    "sieve": lambda name, own: sieve.client(),
    "postgres": lambda name, own: postgres.client(),
    "ldap": lambda name, own: ldap.client(),
    "xmpp": lambda name, own: xmpp.client(name),
}

#: The protocols that have a prelude.
PROTOCOLS = tuple(_SERVERS)


@attrs.frozen
class Prelude:
    """
    What each client of a server begins with.

    @ivar protocol: one of L{PROTOCOLS}
    @ivar name: the server's, in the spelling of L{mytls.names.host_name}
    """

    protocol: str
    name: str = "localhost"

    def dialogue(self) -> Dialogue:
        """The server's end on one connection."""
        return prelude(self.protocol, self.name)


def prelude(protocol: str, name: str = "localhost") -> Dialogue:
    """
    What a server says to a client that has just connected.

    @param protocol: one of L{PROTOCOLS}
    @param name: the server's, in the spelling of L{mytls.names.host_name}
    """
    return Dialogue(_SERVERS[protocol](name.encode("ascii")))


def server_begins(protocol: str) -> bool:
    """
    Whether the server speaks first, in the clear; where it does not, it waits for a client's first message.

    @param protocol: one of L{PROTOCOLS}
    """
    return not ask(protocol, "localhost").begin()


def ask(protocol: str, name: str, own: str = "localhost") -> Dialogue:
    """
    What a client says to a server that it has just connected to.

    @param protocol: one of L{PROTOCOLS}
    @param name: the server's, in the spelling of L{mytls.names.host_name}
    @param own: the client's, where it is asked for: a host name, or an address as in C{[192.0.2.1]}
    """
    return Dialogue(_CLIENTS[protocol](name.encode("ascii"), own.encode("ascii")))
