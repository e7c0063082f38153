"""What conf/ asks of metrics, beside the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.metrics import FAMILIES, Kind
from tests.test_docs import TOP

RULES = TOP / "conf" / "prometheus" / "mytls.rules.yml"
DASHBOARD = TOP / "conf" / "grafana" / "mytls.json"
#: The labels that Prometheus itself gives.
GIVEN = {"job", "instance"}
#: What an operator should see at a glance, and be woken for.
WATCHED = {
    "mytls_certificate_expiry_seconds",
    "mytls_handshake_failures_total",
    "mytls_connections_refused_total",
    "mytls_reactor_lag_max_seconds",
    "mytls_worker_up",
    "mytls_backend_up",
    "mytls_draining",
    "mytls_reloads_total",
}

_NAME = re.compile(r"\b((?:mytls|process)_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
_MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')


def expressions_of_rules() -> list[str]:
    """The expressions of the alerts, each in one line."""
    text = RULES.read_text(encoding="utf-8")
    found = re.findall(r"^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text, re.MULTILINE)
    return [" ".join((folded or plain).split()) for folded, plain in found]


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    return list(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])


def targets() -> Iterator[tuple[str, str]]:
    """The expressions of the dashboard, and what each line of theirs is called."""
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def labels_of(name: str) -> set[str]:
    """The labels that a series of that name has; an error where there is none."""
    family = FAMILIES.get(name)
    if family is None and name.endswith("_bucket"):
        family = FAMILIES[name.removesuffix("_bucket")]
        assert family.kind is Kind.HISTOGRAM, name
        return {*family.labels, *GIVEN, "le"}
    assert family is not None, f"there is no metric {name}"
    return {*family.labels, *GIVEN}


class NameTests(SynchronousTestCase):
    """Every expression, in the rules and in the dashboard."""

    def expressions(self) -> list[str]:
        """All of them."""
        found = [*expressions_of_rules(), *(expression for expression, _ in targets())]
        self.assertGreater(len(found), 40)
        return found

    def test_names_and_labels(self) -> None:
        """It asks for metrics and labels that there are."""
        for expression in self.expressions():
            known: set[str] = set(GIVEN)
            for name, matchers in _NAME.findall(expression):
                labels = labels_of(name)
                known |= labels
                self.assertLessEqual({label for label, _ in _MATCHER.findall(matchers)}, labels, expression)
            for names in _BY.findall(expression):
                self.assertLessEqual(set(re.findall(r"\w+", names)), known, expression)

    def test_counters_are_rates(self) -> None:
        """What only grows is looked at as a rate, and what does not is not."""
        for expression in self.expressions():
            for rated in re.findall(r"\b(?:rate|increase)\((\w+?)(?:_bucket)?[{\[]", expression):
                self.assertIsNot(FAMILIES[rated].kind, Kind.GAUGE, expression)
            for name, _ in _NAME.findall(expression):
                family = FAMILIES.get(name)
                if family is not None and family.kind is Kind.COUNTER:
                    self.assertRegex(expression, rf"\b(rate|increase)\({name}\b")

    def test_causes(self) -> None:
        """A cause that is asked for is one of those that there are."""
        causes = {str(cause) for cause in Cause}
        asked = {
            cause
            for expression in self.expressions()
            for label, value in _MATCHER.findall(expression)
            for cause in value.split("|")
            if label == "cause"
        }
        self.assertTrue(asked)
        self.assertLessEqual(asked, causes)

    def test_results(self) -> None:
        """So is a result of a reload."""
        for expression in self.expressions():
            for label, value in _MATCHER.findall(expression):
                if label == "result":
                    self.assertIn(value, ("changed", "unchanged", "failed"))

    def test_what_is_watched(self) -> None:
        """What an operator has to know is in the alerts, and in the dashboard."""
        self.assertLessEqual(WATCHED, set(re.findall(r"\bmytls_\w+", " ".join(expressions_of_rules()))))
        self.assertLessEqual(WATCHED, set(re.findall(r"\bmytls_\w+", " ".join(each for each, _ in targets()))))


class DashboardTests(SynchronousTestCase):
    """What Grafana imports."""

    def test_importable(self) -> None:
        """It has what Grafana looks for; the data source is asked for and not a machine's own."""
        dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.assertEqual(dashboard["uid"], "mytls")
        self.assertNotIn("id", dashboard)
        self.assertEqual([each["name"] for each in dashboard["templating"]["list"]], ["datasource", "job", "instance"])
        sources = set(re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text(encoding="utf-8")))
        self.assertEqual(sources, {"mytls", "${datasource}"})

    def test_panels(self) -> None:
        """Each has a number of its own, and a sentence; none lies on another, or out of the grid."""
        self.assertEqual(len({panel["id"] for panel in panels()}), len(panels()))
        taken: set[tuple[int, int]] = set()
        for panel in panels():
            self.assertTrue(panel["description"].endswith("."), panel["title"])
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {
                (place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])
            }
            self.assertEqual(taken & cells, set(), panel["title"])
            taken |= cells

    def test_legends(self) -> None:
        """A line is called by labels that it has."""
        for expression, legend in targets():
            grouped = _BY.findall(expression)
            (name, _), *_ = _NAME.findall(expression) or [("", "")]
            has = set(re.findall(r"\w+", grouped[0])) if grouped else labels_of(name) if name else set(GIVEN)
            self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), has, expression)

    def test_variables(self) -> None:
        """Each expression is of the job and the instance that were chosen."""
        for expression, _ in targets():
            for matchers in re.findall(r"\{([^}]*)\}", expression):
                self.assertTrue(matchers.startswith('job=~"$job", instance=~"$instance"'), expression)
