"""A Rego policy, as its worker is given it."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards.bundle import MOST, MOST_FILES, Bundle, Query

REGO = b"package mytls\nallow := true\n"


def packed(files: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A bundle with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


class BundleTests(SynchronousTestCase):
    """A file, or a bundle."""

    def refused(self, content: bytes) -> str:
        return str(self.assertRaises(ConfigurationError, Bundle.of, "p.rego", content))

    def refused_files(self, files: dict[str, bytes]) -> str:
        return self.refused(packed(files))

    def test_file(self) -> None:
        """A file is its text, without the mark that some editors begin it with."""
        self.assertEqual(Bundle.of("p.rego", b"\xef\xbb\xbf" + REGO), Bundle({"p.rego": REGO.decode()}))
        self.assertEqual(Bundle.of("p.rego", b"package x # so"), Bundle({"p.rego": "package x # so\n"}))

    def test_bundle(self) -> None:
        """Of a bundle the sources count, and the data, each in its place; C{opa build} writes absolute paths."""
        made = Bundle.of(
            "b.tar.gz",
            packed(
                {
                    "/policy.rego": REGO,
                    "./a/more.rego": REGO,
                    "/data.json": b'{"users": {"x": ["caf\\u00e9"]}}',
                    "users/y/data.json": b'{"z": 1}',
                    "/.manifest": b'{"revision": "1"}',
                    "policy.wasm": b"\0asm",
                }
            ),
        )
        self.assertEqual(made.modules, {"policy.rego": REGO.decode(), "a/more.rego": REGO.decode()})
        self.assertEqual(made.data, {"users": {"x": ["café"], "y": {"z": 1}}})

    def test_what_is_no_file(self) -> None:
        """Links and devices are nothing."""
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            self.assertEqual(self.refused(packed({"p.rego": b""}, kind)), "there is no .rego file in it")

    def test_errors(self) -> None:
        """What would decide otherwise than its author thinks is an error."""
        self.assertEqual(self.refused(b"package x\0\nallow := true"), "p.rego: there is a NUL in it")
        self.assertEqual(self.refused(b"\xff"), "p.rego: it is no text in UTF-8")
        self.assertEqual(self.refused_files({}), "there is no .rego file in it")
        self.assertIn("out of its folder", self.refused_files({"a/../../p.rego": REGO}))
        self.assertIn("in it twice", self.refused_files({"p.rego": REGO, "./p.rego": REGO}))
        self.assertEqual(
            self.refused_files({"p.rego": REGO, "data.yaml": b""}), "data.yaml is not read; expected data.json"
        )
        for data in (b"[1]", b"{", b'{"x": NaN}', b'{"x": ' + b"9" * 5000 + b"}", b"[" * 100000, b"\xff"):
            self.assertTrue(self.refused_files({"p.rego": REGO, "data.json": data}).startswith("data.json: "), data)
        twice = {"p.rego": REGO, "data.json": b'{"a": {"b": 1}}', "a/data.json": b'{"b": 2}'}
        self.assertEqual(self.refused_files(twice), "a/data.json: b is in another data.json too")

    def test_hostile_archives(self) -> None:
        """What is no archive, is cut off, or is too large, is one line."""
        whole = packed({"p.rego": REGO, "noise": os.urandom(3000)})
        for content in (whole[:100], whole[:-20], b"\x1f\x8b" + b"x" * 100, gzip.compress(b"x" * 3000)):
            self.assertIn("it is no bundle (.tar.gz)", self.refused(content))
        self.assertEqual(self.refused(gzip.compress(bytes(MOST + 1))), f"it is larger than {MOST >> 20} MiB")
        many = packed({f"{number}.rego": b"" for number in range(MOST_FILES + 1)})
        self.assertEqual(self.refused(many), f"there are more than {MOST_FILES} files in it")


class QueryTests(SynchronousTestCase):
    """What is asked."""

    rules = frozenset({("mytls", "allow"), ("mytls", "deep", "er"), ("a-b", "c")})

    def trouble(self, written: str, data: Any = None) -> str | None:
        try:
            Query.of(written).check(set(self.rules), data or {})
        except ConfigurationError as error:
            return str(error)
        return None

    def test_found(self) -> None:
        """A rule, something in the value of a rule, a value of the data; in either spelling."""
        for written in ("data.mytls.allow", 'data["mytls"].allow', 'data["a-b"].c', "data.mytls.deep.er.x"):
            self.assertIsNone(self.trouble(written), written)
        self.assertIsNone(self.trouble("data.on", {"on": True}))

    def test_not_found(self) -> None:
        """A name with a mistake in it would be a no for everybody, so it is an error."""
        self.assertEqual(self.trouble("data.mytls.alow"), "there is no such rule; did you mean 'data.mytls.allow'?")
        self.assertEqual(
            self.trouble("data.x"),
            'there is no such rule; expected one of: data.mytls.allow, data.mytls.deep.er, data["a-b"].c',
        )
        self.assertIn("that is a package and no rule", str(self.trouble("data.mytls.deep")))
        self.assertIn("there is no such rule", str(self.trouble("data.on", {"on": {"x": True}})))

    def test_no_name(self) -> None:
        """Anything but the name of a rule."""
        for written in (
            "",
            "data",
            "mytls.allow",
            "true",
            "data.a; true",
            "data.a == 1",
            "data.a[_]",
            'data["a"',
            "data.",
        ):
            self.assertEqual(self.trouble(written), "expected the name of a rule, such as data.mytls.allow", written)
