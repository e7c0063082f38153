"""
A client endpoint whose server begins in the clear: TLS is asked for in the words of its protocol, and agreed upon.

What the server says until then is believed by nobody and reaches nobody. Whoever connects has its protocol made when
the server has agreed, and speaks first on the transport of that connection.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from mytls.handlers.places import Preamble, nothing
from mytls.preludes import ask
from mytls.preludes.dialogue import Dialogue
from mytls.via.endpoint import Passage


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class Agreed:
    """
    Connects, and agrees upon TLS.

    @ivar below: what connects to the server
    @ivar protocol: one of L{mytls.preludes.PROTOCOLS}
    @ivar name: the server's
    """

    below: IStreamClientEndpoint
    protocol: str
    name: str

    @property
    def welcome(self) -> bytes:
        """
        What whoever connects hears first under TLS, where the protocol has a greeting: the server says none there, and
        that which it has said came in the clear, from anybody.
        """
        return self._dialogue().welcome

    def connect(self, protocolFactory: IProtocolFactory, preamble: Preamble = nothing) -> Deferred[IProtocol]:
        """
        Connect.

        @param preamble: what the server hears ahead of everything
        @return: fires when the server has agreed; fails with L{mytls.attempt.TLSConnectError}
        """
        way = f"starttls={self.protocol}: "
        return Passage(self._dialogue(), protocolFactory, way, "the server", preamble=preamble).begin(self.below)

    def _dialogue(self) -> Dialogue:
        return ask(self.protocol, self.name)
