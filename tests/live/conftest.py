"""What the live tests share: certificates as files, a twistd that is always killed, programs that may be missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.processes import Running, serving

Serve = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A root, an intermediate CA, and certificates for localhost, made for this run."""
    return Certificates.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def serve() -> Serve:
    """See L{serving}."""
    return serving


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """
    The path of a program. Where it is missing the test is skipped; where MYTLS_ALL_PROGRAMS is set, it fails.
    """

    def find(program: str) -> str:
        found = shutil.which(program)
        if found is None and os.environ.get("MYTLS_ALL_PROGRAMS"):
            pytest.fail(f"{program} is not installed")
        if found is None:
            pytest.skip(f"{program} is not installed")
        return found

    return find


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a module of a user's. @return: the folder to start twistd in"""

    def write(name: str, source: str) -> Path:
        (tmp_path / f"{name}.py").write_text(source)
        return tmp_path

    return write
