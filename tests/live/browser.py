"""A real Chromium, as Debian has it, and what it says of a page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

from tests.live.processes import PATIENCE

#: As root in a container there is neither a sandbox nor much of /dev/shm; nothing is asked of anybody else.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--lang=en",
    "--window-size=1280,1000",
)


class Browser:
    """
    One window.

    @ivar driver: Selenium's
    @ivar requests: what was asked for, by an id
    @ivar statuses: the status codes of the answers, by the same, also where a page was not let see them
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.requests: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, int] = {}

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """What a function with this body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """The text of the first element that matches, as it is seen or not."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """That of each."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector))

    def shown(self, selector: str) -> bool:
        """Whether the first element that matches is seen."""
        return bool(self.run("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    def until(self, script: str, what: str, *arguments: object) -> Any:
        """Wait until an expression is true in the page. @return: its value"""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(f"return {script}", *arguments)):
            assert time.monotonic() < end, f"not in {PATIENCE:.0f} seconds: {what}"
            time.sleep(0.05)
        return value

    def press(self, *keys: str) -> None:
        """Type into what has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Press the Tab key until an element has the focus."""
        for _ in range(most):
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"the Tab key does not get to {selector}")

    def screen(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """The size of the window, and what the system prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._command("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._command("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, path: Path) -> None:
        """What is seen, as a PNG."""
        assert self.driver.save_screenshot(os.fspath(path))

    def look(self) -> list[str]:
        """Take note of what it has asked for. @return: what it has complained of since it was looked at"""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            values = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests[values["requestId"]] = values["request"]
            elif message["method"] == "Network.responseReceivedExtraInfo":
                self.statuses[values["requestId"]] = values["statusCode"]
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def _command(self, name: str, **parameters: object) -> None:
        self.driver.execute_cdp_cmd(name, parameters)


@contextmanager
def browsing(chromium: str, driver: str) -> Iterator[Browser]:
    """
    A browser with an empty profile, which is gone at the end of the block.

    @param chromium: the path of the program
    @param driver: that of chromedriver
    """
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with patch.dict(os.environ, no_proxy="*"):  # whatever stands in the environment: it is all on this machine
        made = webdriver.Chrome(options=options, service=Service(driver))
        try:
            made.set_script_timeout(PATIENCE)
            yield Browser(made)
        finally:
            made.quit()
