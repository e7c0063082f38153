"""
The server of Python's ssl documentation, https://docs.python.org/3/library/ssl.html#server-side-operation: the
functions that it calls for a client, as they are written there. What the client gets is up to C{do_something}.

    twistd --nodaemon mytls --handler serve:documentation:deal_with_client
    twistd --nodaemon mytls --handler call:documentation:do_something
"""

# mypy: allow-untyped-defs, allow-untyped-calls


def deal_with_client(connstream):
    data = connstream.recv(1024)
    # empty data means the client is finished with us
    while data:
        if not do_something(connstream, data):
            # we'll assume do_something returns False
            # when we're finished with client
            break
        data = connstream.recv(1024)
    # finished with client


def do_something(connstream, data):
    """Say it louder, until the client says bye."""
    connstream.sendall(data.upper())
    return data.strip() != b"bye"
