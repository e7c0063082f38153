"""
How a worker begins: C{python -m mytls.workers.worker}, with the words of C{twistd} that it shares with its parent.

It is a C{twistd} in the foreground, whose log goes to its parent.
"""

from __future__ import annotations

import faulthandler
import os
import sys


def main() -> None:
    """Run it. Where it does not answer its parent ends it with SIGABRT, and it says where it was."""
    faulthandler.enable()
    os.environ["LISTEN_PID"] = str(os.getpid())  # only here is it known (sd_listen_fds(3))
    own = ["--nodaemon", "--pidfile=", "--logger=mytls.workers.lines.Sender"]
    sys.argv = ["twistd", *own, *sys.argv[1:]]

    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()
