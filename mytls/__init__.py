"""
TLS for any byte-stream handler, on Twisted.

The map, from door to value. A module imports from those below it, never from above.

  doors
    workers.worker      how a worker begins
    tap                 twistd mytls
    table               what is served, as a table for a person
    assemble            settings in, running parts out
    permitted           settings in, permits out: what files and ports a service needs
    status.service      the status service: listens before what it tells of, and answers until that is over
    status.place        where it listens, and that strangers do not reach it there
    status.site         what it answers, and to whom
    status.exchange     a request as it came, and the answer to it
    status.streams      samples as they are taken, to browsers
    status.samples      what a service was like each second of the last minutes
    status.pieces       a long list as JSON, a piece in each turn
    status.origins      whose requests are answered
    status.files        the files of the page
    status.crowd        so many connections, and room for one more
    workers.roles       one process that serves alone, the parent of workers, or a worker
    workers.estate      what a process listens with, from its predecessor and to its successor
    workers.succession  how it hands over to a successor
    workers.inheritance what a successor has from its predecessor, and how it takes over
    workers.successor   how a successor begins
    workers.relaunch    how a process is started anew, and whose the pid file is then
    workers.overview    the overview of a parent and its workers
    status.process      the overview of one process
    status.facts        what it serves and whom, as JSON can carry it
    status.measured     what it has counted and what is there now, as metrics
    workers.crew        the workers of a parent: kept running, told the same
    workers.silence     workers that say nothing
    workers.child       a worker, as its parent sees it
    workers.held        what a process has read while it could, for workers and a successor that cannot
    workers.attendant   what a worker does for its parent
    workers.seat        what a worker has from its parent
    workers.sharing     reactors that share listening sockets
    workers.channel     what a parent and its worker say to each other
    workers.lines       a worker's log, through its parent's
    workers.tallies     what several workers have counted, as if they were one
    workers.code        which code this is
    workers.backoff     how long to wait before a new start
    systemd.supervised  a service of systemd's, and what that is told of it
    systemd.watched     a service whose event loop is watched
    systemd.watchdog    whether the event loop turns
    systemd.notify      how systemd is told
    running             listens, serves what the files say, stops
    draining            a service that stops, and who is left
    exitstatus          the status that a process of twistd's ends with
    handled             which handler each host has
    endpoint            the server endpoint mytls:, as class and as string
    client              the client endpoint mytls:, as class and as string
    via.starttls        the way through STARTTLS, for a client
    via.endpoint        the way through a proxy, for a client
    via.connect         HTTP's CONNECT
    via.socks5          SOCKS5
    attempt             one connection of a client, from the wish for it until its server is met
    reload              build beside, swap, keep the old on error
    changes             what a reload has changed, in words
    loading             settings in, hosts out: what is read and made before the first client comes
  the way of a byte
    listener            accepts, knows what is open, ends it
    review              after a reload: who may not enter any more
    connection          one connection's life, from ClientHello to goodbye
    beginning           what comes before TLS: a PROXY header, STARTTLS, a ClientHello
    proxyreader         the PROXY protocol's header: bytes in, value out
    passthrough         the transport of a handler that gets the ciphertext as it is
    hints               why there was no handshake, for an operator
    circumstances       what is known of such a client, and of whom it met
    hosts               which host a ClientHello is for
    tls.servers         how a client knows its server: the context of its connections
    guards.access       which client certificates may enter
    guards.uris         URIs, one spelling for each
    guards.sources      where clients may connect from, and who may say that it is elsewhere
    guards.rego         a policy of Open Policy Agent
    guards.rego_worker  the process that it lives in
    guards.bundle       a Rego file or a bundle in, what that process is given out
    guards.workers      processes that answer questions, and may take for ever to
    guards.policy       who else is asked whether a peer may enter
    accepting           lets in who comes while there is room
    guards.limits       how many may be there, and how many may come
    guards.visitors     what is known of addresses
    guards.board        what several processes count together
    guards.buckets      tokens that come back with time
    guards.sandbox      what the process can do no more
    guards.descriptors  how many descriptors connections may have
    guards.ages         how long connections may be silent, and last
    sockets             transports that write at once
    adopted             listening sockets that somebody else has made, and keeps
    tls.transport       the tunnel between two Twisted interfaces; flow control, closing
    tls.tunnel          ciphertext in, plaintext out; the state table
    tls.failures        OpenSSL's errors as causes
    tls.identity        what a handshake tells of the peer
    tls.fingerprints    what made a ClientHello, by its choices
    tls.hello           ClientHello bytes in, value out
    tls.contexts        settings in, OpenSSL contexts out
    tls.readmission     whether who was let in before would be let in now
    tls.verifier        who verifies the certificates of peers
    tls.stores          whom OpenSSL trusts to vouch for peers
    tls.refusals        OpenSSL's verification errors as causes
    tls.keylog          the secrets of connections, for whoever asks for them
    tls.profiles        Mozilla's guidelines, as settings of OpenSSL
    goodbye             how a connection ends, so that nothing is lost and nobody can hold it
    guards.deadlines    deadlines without a timer for each
  handlers
    handlers            handler strings, our own and plugins'
    handlers.callback   call: a function that is called with each piece of data
    handlers.stream     serve: a function that has the connection to itself
    handlers.threads    so many threads at the same time
    handlers.blocking   the connstream of a plain function in a thread
    handlers.awaitable  the connstream of a coroutine
    handlers.inbox      what has come and was not taken yet
    handlers.connstream the surface of ssl.SSLSocket for user code
    handlers.factory    factory: a Twisted factory or protocol
    handlers.proxy      proxy: and passthrough: a backend at the other end
    handlers.health     whether backends are well
    handlers.answers    whether an HTTP address says so
    handlers.preamble   what a backend hears first
    handlers.dial       a connection to a backend, from the wish for it until it is there
    handlers.places     endpoint strings of backends
    handlers.backends   how backends are, and whose turn it is
    proxyout            what a backend is told of a connection, by the PROXY protocol
    preludes            what is said in the clear before TLS: STARTTLS, in its dialects
    preludes.smtp       SMTP's
    preludes.imap       IMAP's
    preludes.pop3       POP3's
    preludes.sieve      ManageSieve's
    preludes.postgres   PostgreSQL's
    preludes.ldap       LDAP's
    preludes.xmpp       XMPP's
    preludes.greeting   a backend's greeting to a client that has had one
    preludes.dialogue   a conversation in the clear: lines in, lines out
    handlers.program    exec: a program for each connection
    handlers.conversation  one client and its program
    handlers.process    a process, and the pipes to it
    handlers.environment  what a program is told of its client
    handlers.complaints what a program says on its standard error, as lines of the log
    handlers.command    the string of exec:, which program and as whom
    handlers.splice     two connections, joined
    handlers.builtin    echo, discard
    handlers.load       package.module:name in, the object out
  certificates
    tls.workload        the newest of what a SPIFFE Workload API has issued
    tls.agent           how a SPIFFE agent is asked
    tls.svids           X.509-SVIDs, their keys and the CAs of trust domains
    tls.development     a certificate for a developer's own machine
    tls.folder          a folder of certificates, keys and chains, sorted out
    tls.certificates    files in, certificate, key and chain out
    tls.advice          what an operator should do about a certificate
    tls.staples         OCSP responses, and whose they are
    tls.trust           client CAs and revocation lists
    tls.revocations     which revocation lists count
    tls.chains          which certificate has issued which
    tls.contents        bytes of a file in; certificates, keys and lists out
    tls.passwords       what opens encrypted keys
    tls.files           what was read, so that a change is noticed
    tls.ssldict         a certificate as the ssl module shows it
  values
    accesslog           what happened, as lines of the log
    logs.text           an event as a line for people
    logs.fields         an event as an object for machines
    logs.tracebacks     what handlers raise, each a few times
    logs.recurring      the same again and again, counted
    logs.places         where lines go
    logs.file           a file that is appended to, and begun anew
    logs.datagrams      the sockets of syslog and of the journal
    logs.lines          a line, how much it matters, and what is lost of it
    status.overview     what an operator can see of a service, and ask of it
    status.counts       what has happened, counted
    status.traffic      bytes of connections that are there
    status.lag          how late the event loop is
    events              what happened
    metrics             what is measured: of one process, of several, as Prometheus's text
    peer                who is at the other end
    offers              what a client has offered, in words
    interfaces          the seams that others plug into
    proxyheader         what the PROXY protocol's header says, and its bytes
    proxytlvs           what it says beside the addresses
    configfile          the file: TOML in, settings out
    tomllines           a TOML file, and where each of its keys stands
    strings             endpoint strings: words in, settings out
    clientsettings      what a user has said of a server to connect to
    settings            what a user has said
    keys                what a user can say
    destinations        where a client goes, and by which way
    kinds               what a value looks like
    names               server names, one spelling for each
    addresses           addresses, as logs write them
    privileges          what the process may do no more, and what is not left of it
    steady              the reactor's time, without the jumps of the system's
    errors              what can go wrong

Public names, each also where it lives: service, TLSServerEndpoint, TLSClientEndpoint, Peer, ConfigurationError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mytls.assemble import service as service
    from mytls.client import TLSClientEndpoint as TLSClientEndpoint
    from mytls.endpoint import TLSServerEndpoint as TLSServerEndpoint
    from mytls.errors import ConfigurationError as ConfigurationError
    from mytls.peer import Peer as Peer

__version__ = "0.1.0"
__all__ = ["ConfigurationError", "Peer", "TLSClientEndpoint", "TLSServerEndpoint", "service"]

_HOMES = {
    "service": "mytls.assemble",
    "TLSServerEndpoint": "mytls.endpoint",
    "TLSClientEndpoint": "mytls.client",
    "Peer": "mytls.peer",
    "ConfigurationError": "mytls.errors",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: every twistd on the machine loads this package."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mytls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
