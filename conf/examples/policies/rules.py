"""
policy = "rules:allow"

A function that is given the peer, and answers True, False, or why not. It runs in a thread and may block; a coroutine
function (async def) runs on the event loop and may await.
"""

#: Who may enter, by the common name of the certificate, and from which organizational unit.
FRIENDS = {"build": "ci", "alice": "ops"}


def allow(peer):
    """Who is known, of the right unit, and speaks TLS 1.3."""
    for name in peer.cn:
        if FRIENDS.get(name) in peer.ou:
            return peer.version == "TLSv1.3" or f"{name} has to come with TLS 1.3"
    return "nobody whom I know"
