"""What operators start from, as the programs that it is for read it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.live.processes import run
from tests.test_docs import TOP

PROMETHEUS = TOP / "conf" / "prometheus"
UNITS = [str(TOP / "conf" / name) for name in ("mytls.service", "mytls.socket")]


@pytest.mark.parametrize(
    "words",
    [("check", "config", "prometheus.yml"), ("check", "rules", "mytls.rules.yml"), ("test", "rules", "mytls.test.yml")],
)
def test_prometheus(needs: Callable[[str], str], words: tuple[str, ...]) -> None:
    """Prometheus takes the scrape configuration and the rules, and the rules say what they should."""
    answer = run(needs("promtool"), *words, cwd=PROMETHEUS)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "SUCCESS" in answer.stdout


def test_units(needs: Callable[[str], str]) -> None:
    """systemd takes the units; one older than 253 does not know C{notify-reload}, and says so."""
    answer = run(needs("systemd-analyze"), "verify", "--man=no", *UNITS)
    lines = [line for line in answer.stderr.splitlines() if "ignoring: notify-reload" not in line]
    assert (answer.returncode, lines) == (0, []), answer.stderr


def test_a_service_that_may_do_little(needs: Callable[[str], str]) -> None:
    """systemd's measure of what a service is exposed to, from 0 to 10, is low."""
    answer = run(needs("systemd-analyze"), "security", "--offline=true", "--no-pager", UNITS[0])
    (exposure,) = re.findall(r"Overall exposure level for mytls\.service: ([\d.]+)", answer.stdout)
    assert float(exposure) < 2
