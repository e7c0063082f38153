"""A real twistd, and what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds. A machine that is busy with other things may take long for anything.
PATIENCE = 30.0

#: The twistd of this Python.
TWISTD = os.fspath(Path(sys.executable).with_name("twistd"))

_SERVING = r"serving \S+ at (\S+)"

#: How the configuration of an nginx begins that serves HTTP in the foreground, with all its files in one folder.
NGINX_HTTP = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
"""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change how twistd runs, and with more of it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **more}


class Running:
    """
    A twistd in the foreground.

    @ivar process: its process
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._text = ""
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """What it has said until now."""
        with self._changed:
            return self._text

    @property
    def addresses(self) -> list[str]:
        """Where it says that it serves."""
        return re.findall(_SERVING, self.log)

    @property
    def port(self) -> int:
        """The TCP port of its first endpoint."""
        return int(self.addresses[0].rpartition(":")[2])

    def wait_for(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> list[str]:
        """Wait until the log holds the pattern so many times. @return: the matches"""

        def enough() -> bool:
            return self._ended or len(re.findall(pattern, self._text)) >= count

        with self._changed:
            self._changed.wait_for(enough, timeout)
            found = [match.group() for match in re.finditer(pattern, self._text)]
        assert len(found) >= count, f"{pattern!r} stands {len(found)} times and not {count} times in the log"
        return found

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end. @return: its exit status"""
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status

    def peak_memory(self) -> int:
        """The most memory that it has had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status) or re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._text += line.decode("utf-8", "backslashreplace")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def serving(
    *arguments: str,
    command: str = "mytls",
    options: Sequence[str] = (),
    launcher: Sequence[str] = (),
    ready: str = _SERVING,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Running]:
    """
    A twistd in the foreground, from when it listens until the end of the block; then it is killed.

    @param arguments: what stands behind the command
    @param command: the command of twistd
    @param options: what stands before the command
    @param launcher: a program and its arguments that runs twistd
    @param ready: what stands in the log, once for each endpoint, when it listens
    @param cwd: the folder it is started in
    @param env: more environment
    @param pass_fds: descriptors that it inherits
    """
    process = subprocess.Popen(
        [*launcher, TWISTD, "--nodaemon", "--pidfile=", *options, command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=environment(**(env or {})),
        pass_fds=pass_fds,
    )
    running = Running(process)
    try:
        running.wait_for(ready, max(arguments.count("--endpoint"), 1))
        yield running
    finally:
        process.kill()
        running.wait()
        assert process.stdout is not None
        process.stdout.close()
        sys.stderr.write(_shortened(running.log))  # pytest shows it where the test fails


def run(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing on standard input."""
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=PATIENCE,
        check=False,
    )


def until(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Look until something that nobody tells of has happened."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not in {timeout:.0f} seconds: {what}"
        time.sleep(0.01)


def memory_files(pid: int, name: str = "memfd") -> list[Path]:
    """The files in memory that a process has open, by the beginning of their name; it may close others meanwhile."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if name in os.readlink(each):
                found.append(each)
    return found


def _shortened(log: str, most: int = 8000) -> str:
    return log if len(log) <= most else f"{log[: most // 2]}\n[...]\n{log[-most // 2 :]}"
