"""A Rego policy, as its worker is given it."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.guards.bundle import MOST, MOST_DEEP, MOST_FILES, Bundle, Query

REGO = b"package mytls\nallow := true\n"


def archive(*members: tuple[str, bytes, Mapping[str, Any]]) -> bytes:
    """A bundle. @param members: a name, what is in it, and what else its header says"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, content, more in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in more.items():
                setattr(member, key, value)
            made.addfile(member, io.BytesIO(content))
    return out.getvalue()


def packed(files: Mapping[str, bytes]) -> bytes:
    """A bundle with these files."""
    return archive(*((name, content, {}) for name, content in files.items()))


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

    def test_folders(self) -> None:
        """Folders are no files."""
        made = Bundle.of("b.tar.gz", archive(("./", b"", {"type": tarfile.DIRTYPE}), ("./p.rego", REGO, {})))
        self.assertEqual(list(made.modules), ["p.rego"])

    def test_what_is_no_file(self) -> None:
        """A link would leave out what it leads to, so it is an error, and so is what else is no file."""
        for name in ("deny.rego", "data.json", "folder"):
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                line = self.refused(archive(("p.rego", REGO, {}), (name, b"", {"type": kind, "linkname": "p.rego"})))
                self.assertTrue(line.startswith(f"{name} is a link; expected the file itself"), line)
            for kind in (tarfile.CHRTYPE, tarfile.FIFOTYPE, b"V"):
                line = self.refused(archive(("p.rego", REGO, {}), (name, b"", {"type": kind})))
                self.assertEqual(line, f"{name} is neither a file nor a folder")

    def test_part_of_an_archive(self) -> None:
        """Wherever an archive is cut off or damaged, it is no policy with a part left out."""
        whole = gzip.decompress(packed({"p.rego": REGO, "data.json": b'{"blocked": ["0A"]}'}))
        self.assertEqual(Bundle.of("b", gzip.compress(whole)).data, {"blocked": ["0A"]})
        for end in (*range(1, 2048, 99), 512, 1024, 1536, 2048):
            self.assertIn("it is no bundle (.tar.gz)", self.refused(gzip.compress(whole[:end])), end)
        for at in (0, 1024, 1024 + 124, 1024 + 156):
            damaged = whole[:at] + b"X" + whole[at + 1 :]
            self.assertIn("it is no bundle (.tar.gz)", self.refused(gzip.compress(damaged)), at)
        split = whole[:1024] + bytes(1024) + whole[1024:]
        self.assertEqual(self.refused(gzip.compress(split)), "it is no bundle (.tar.gz): it is cut off, or damaged")

    def test_two_archives(self) -> None:
        """What stands behind the first would be left out."""
        line = "it is no bundle (.tar.gz): there is more behind its end"
        whole = gzip.decompress(packed({"p.rego": REGO, "deny.rego": REGO}))
        self.assertEqual(self.refused(gzip.compress(whole[:1024]) + gzip.compress(whole[1024:])), line)
        self.assertEqual(self.refused(packed({"p.rego": REGO}) + b"\0"), line)

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

    def test_depth(self) -> None:
        """Data may be nested so deep, with its folders, that whoever reads it next can."""

        def nested(folders: int, objects: int) -> tuple[str, bytes]:
            return "a/" * folders + "data.json", b'{"a":' * objects + b"1" + b"}" * objects

        for folders in (0, 1, 100):
            name, content = nested(folders, MOST_DEEP - folders - 1)  # and there is one folder more
            made = Bundle.of("b", packed({"p.rego": REGO, "a/data.json": b'{"b": 1}', f"a/{name}": content}))
            self.assertEqual(json.loads(json.dumps(made.data)), made.data)
        line = f"it is nested more than {MOST_DEEP} deep"
        for folders, objects in (
            (0, MOST_DEEP + 1),
            (0, 990),
            (0, 100000),
            (100, MOST_DEEP - 99),
            (5000, 1),
            (MOST_DEEP, 1),
        ):
            name, content = nested(folders, objects)
            self.assertTrue(self.refused_files({"p.rego": REGO, name: content}).endswith(line), (folders, objects))

    def test_hostile_archives(self) -> None:
        """What is no archive, is cut off, or is too large, is one line."""
        whole = packed({"p.rego": REGO, "noise": os.urandom(3000)})
        for content in (whole[:100], whole[:-20], b"\x1f\x8b" + b"x" * 100, gzip.compress(b"x" * 3000)):
            self.assertIn("it is no bundle (.tar.gz)", self.refused(content))
        self.assertEqual(self.refused(gzip.compress(bytes(MOST + 1))), f"it is larger than {MOST >> 20} MiB")
        for name in ("GNU.sparse.realsize", "GNU.sparse.size"):
            sparse = archive(("p.rego", REGO, {}), ("big", b"", {"pax_headers": {name: str(1 << 40)}}))
            self.assertEqual(self.refused(sparse), "big is sparse; expected the whole file")
        of_old = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
        sparse = archive(("p.rego", REGO, {}), ("big", b"1\n0\n0\n".ljust(512, b"\0"), {"pax_headers": of_old}))
        self.assertEqual(self.refused(sparse), "big is sparse; expected the whole file")
        for size in ("-512", str(1 << 60)):
            odd = archive(("p.rego", REGO, {}), ("big", b"", {"pax_headers": {"size": size}}))
            self.assertEqual(self.refused(odd), f"big is larger than {MOST >> 20} MiB")
        self.assertEqual(self.refused(packed({"\udcff.rego": REGO})), "\\u{dcff}.rego has no name in UTF-8")
        headers = tarfile.TarInfo("pax")
        headers.type = tarfile.XHDTYPE
        self.assertEqual(
            self.refused(gzip.compress(headers.tobuf(tarfile.USTAR_FORMAT) * 3000 + bytes(1024))),
            "it is no bundle (.tar.gz): too many headers before a file",
        )
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
