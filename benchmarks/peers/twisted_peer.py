"""A Twisted server: `ssl:` as it comes, or with client certificates Twisted's own or mytls's endpoint class.

`ssl:` strings cannot ask for client certificates, so there the endpoint is made from a `CertificateOptions`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate, TLSVersion
from twisted.protocols.wire import Discard, Echo

from benchmarks.peers.source import Source


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "handler", "key", "certificate"):
        parser.add_argument(name)
    parser.add_argument("client_ca", nargs="?")
    parser.add_argument("--endpoint", choices=["ssl", "mytls"], default="ssl")
    options = parser.parse_args()
    endpoint(options).listen(factory(options.handler)).addErrback(fail)
    reactor.run()


def factory(handler: str) -> Factory:
    return Source() if handler == "source" else Factory.forProtocol({"echo": Echo, "discard": Discard}[handler])


def endpoint(options: argparse.Namespace) -> IStreamServerEndpoint:
    if options.client_ca:
        with_options = endpoint_class(options.endpoint)
        return with_options(reactor, int(options.port), certificate_options(options), interface="127.0.0.1")
    string = f"ssl:{options.port}:interface=127.0.0.1:privateKey={options.key}:certKey={options.certificate}"
    plain: IStreamServerEndpoint = serverFromString(reactor, string)
    return plain


def endpoint_class(name: str) -> Callable[..., IStreamServerEndpoint]:
    if name == "ssl":
        return SSL4ServerEndpoint
    from mytls.endpoint import TLSServerEndpoint

    return TLSServerEndpoint


def certificate_options(options: argparse.Namespace) -> CertificateOptions:
    pem = Path(options.certificate).read_bytes() + Path(options.key).read_bytes()
    own: PrivateCertificate = PrivateCertificate.loadPEM(pem)
    return CertificateOptions(
        privateKey=own.privateKey.original,
        certificate=own.original,
        trustRoot=Certificate.loadPEM(Path(options.client_ca).read_bytes()),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )


def fail(reason: object) -> None:
    print(reason)
    reactor.stop()


if __name__ == "__main__":
    main()
