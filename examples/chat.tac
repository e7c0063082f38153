"""
The chat room over TLS, and beside it in the same process a web page that says who is there:

    twistd --nodaemon --python chat.tac
"""

import sys
from pathlib import Path

from twisted.application.service import Application
from twisted.application.strports import service as listening
from twisted.web.resource import Resource
from twisted.web.server import Site

import mytls
from mytls.assemble import development_endpoint

sys.path.insert(0, str(Path(__file__).parent))
from chat import Room


class WhoIsThere(Resource):
    """One page."""

    isLeaf = True

    def render_GET(self, request):
        """The names, one a line."""
        return "".join(f"{name}\n" for name in room.members).encode()


room = Room()
endpoints, command = development_endpoint()
application = Application("chat")

chat = mytls.service(endpoints, room)
chat.greeting = f"chat with: {command} -quiet"
chat.setServiceParent(application)

page = listening("tcp:8080:interface=127.0.0.1", Site(WhoIsThere()))
page.setServiceParent(application)
