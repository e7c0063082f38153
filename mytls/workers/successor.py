"""
How a successor begins: C{python -m mytls.workers.successor}, with the words of its predecessor.

It is a C{twistd} in the foreground, where its predecessor is, with the same output.
"""

from __future__ import annotations

import os
import sys
import warnings


def main() -> None:
    """Run it."""
    os.environ["LISTEN_PID"] = str(os.getpid())  # only here is it known (sd_listen_fds(3))
    warnings.filterwarnings("ignore", "tried to drop privileges")  # its predecessor has, and --uid stands there still
    sys.argv = ["twistd", *sys.argv[1:]]

    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()
