"""The files of the page: whole, ours alone, and with nothing in them that the browser is told not to run."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(str(files("mytls.status") / "page"))

#: What is of others, and is shipped as it came.
SHIPPED = ("uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE.txt")


def ours(*suffixes: str) -> list[Path]:
    """Our own files of the page with these suffixes."""
    found = sorted(path for path in PAGE.iterdir() if path.suffix in suffixes and path.name not in SHIPPED)
    assert found
    return found


class ShippedTests(SynchronousTestCase):
    def test_the_chart_library_is_what_was_released(self) -> None:
        """Each of its files has the sum that stands beside it."""
        said = re.findall(r"^([0-9a-f]{64}) {2}(\S+)$", (PAGE / "uPlot.md").read_text(), re.MULTILINE)
        self.assertEqual([name for _, name in said], list(SHIPPED))
        for expected, name in said:
            self.assertEqual(hashlib.sha256((PAGE / name).read_bytes()).hexdigest(), expected, name)

    def test_its_license_is_shipped(self) -> None:
        self.assertIn("The MIT License", (PAGE / "uPlot.LICENSE.txt").read_text())


class SafetyTests(SynchronousTestCase):
    def test_no_text_becomes_html(self) -> None:
        """What peers say reaches the page as text: no script of ours has another way in."""
        ways = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|setHTML"
        )
        for script in [*ours(".js"), PAGE / "uPlot.iife.min.js"]:
            self.assertIsNone(re.search(ways, script.read_text()), script.name)

    def test_no_text_becomes_a_program(self) -> None:
        for script in [*ours(".js"), PAGE / "uPlot.iife.min.js"]:
            self.assertIsNone(re.search(r"\beval\(|\bnew Function\b|javascript:", script.read_text()), script.name)

    def test_nothing_inline(self) -> None:
        """The Content-Security-Policy allows neither scripts nor styles in the HTML."""
        html = (PAGE / "index.html").read_text()
        self.assertIsNone(re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html))

    def test_nothing_from_elsewhere(self) -> None:
        """No file of ours names another place; what stands in the HTML is beside it, or is a path of the service."""
        for path in ours(".html", ".js", ".css", ".svg"):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            self.assertIsNone(re.search(r"https?:|[\"'(]//|@import|url\(", text), path.name)
        for link in re.findall(r'(?:src|href)="([^"#]+)"', (PAGE / "index.html").read_text()):
            self.assertTrue((PAGE / link).is_file() or link in {"status", "connections", "metrics"}, link)

    def test_scripts_name_what_is_there(self) -> None:
        """Each element that a script looks for is in the HTML, and each module that it imports is a file."""
        html = (PAGE / "index.html").read_text()
        for script in ours(".js"):
            text = script.read_text()
            for name in re.findall(r'found\("([^"]+)"\)', text):
                self.assertEqual(html.count(f'id="{name}"'), 1, f"{script.name}: {name}")
            for name in re.findall(r'from "\./([^"]+)"', text):
                self.assertTrue((PAGE / name).is_file(), f"{script.name}: {name}")
