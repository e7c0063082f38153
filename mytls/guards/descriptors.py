"""How many descriptors connections may have, so that some are left for all else."""

from __future__ import annotations

import os
import resource

import attrs

#: What is left for the status service, backends that are looked at, files of a reload: so many, or this part of all.
LEAST_RESERVE, RESERVED_PART = 16, 10
#: How many are in use where the system does not tell.
_USUAL = 32


@attrs.frozen
class Budget:
    """
    What connections may have of the descriptors of this process.

    @ivar most: how many; 0 is no bound
    @ivar limit: the system's limit of open files
    """

    most: int = 0
    limit: int = 0

    @classmethod
    def of_process(cls) -> Budget:
        """What is left of the limit (RLIMIT_NOFILE) but for what is open now and the reserve."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls() if limit == resource.RLIM_INFINITY else cls.of(limit, _in_use())

    @classmethod
    def of(cls, limit: int, in_use: int) -> Budget:
        """The same in numbers."""
        return cls(max(limit - in_use - max(LEAST_RESERVE, limit // RESERVED_PART), 1), limit)


def _in_use() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return _USUAL
