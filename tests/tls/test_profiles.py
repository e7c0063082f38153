"""Profiles: Mozilla's guidelines, and what a host may say otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, ConfigurationError
from mytls.events import HandshakeFailed
from mytls.settings import HostSettings
from mytls.tls import profiles
from mytls.tls.profiles import METHODS, PROFILES, apply_to, find_door, profile_of
from tests.memory import Link, client_context, key_pair, tls_options
from tests.tls.authority import Authority, rsa_key

VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}


def anyones_context(version: str) -> SSL.Context:
    """A client's context of this version alone, which takes all that OpenSSL has."""
    context = client_context(VERSIONS[version])
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return context


class GuidelineTests(SynchronousTestCase):
    """What is in the guidelines is served, and nothing else is."""

    def served(self, context: SSL.Context, **said: Any) -> SSL.Connection | None:
        """The client's connection, or None where the two cannot agree."""
        link = Link(options=tls_options(**said), context=context)
        try:
            link.handshake()
        except SSL.Error:
            return None
        return link.client

    def test_versions(self) -> None:
        """`modern` is TLS 1.3, `intermediate` TLS 1.2 too, `old` all since TLS 1.0."""
        for profile, served in (
            ("modern", {"TLSv1.3"}),
            ("intermediate", {"TLSv1.2", "TLSv1.3"}),
            ("old", {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}),
        ):
            found = {each for each in VERSIONS if self.served(anyones_context(each), profile=profile)}
            self.assertEqual(found, served, profile)

    def test_default(self) -> None:
        """Who says nothing has `intermediate`."""
        self.assertEqual(profile_of(HostSettings()), PROFILES["intermediate"])

    def test_suites(self) -> None:
        """Each suite of OpenSSL's is agreed on where it stands in the guideline and this OpenSSL has it."""
        keys = {"RSA": Authority().issue(key=rsa_key()), "ECDSA": key_pair()}
        known = profiles._known_ciphers()
        self.assertGreater(len(known), 30)
        for profile in ("intermediate", "old"):
            ciphers = PROFILES[profile].ciphers
            for name in known:
                if name.startswith("DHE-"):
                    continue  # nothing is agreed on without parameters
                options = tls_options(keys["ECDSA" if "ECDSA" in name else "RSA"], profile=profile)
                context = client_context(SSL.TLS1_2_VERSION)
                context.set_cipher_list(f"{name}:@SECLEVEL=0".encode())
                link = Link(options=options, context=context)
                try:
                    link.handshake()
                except SSL.Error:
                    agreed = False
                else:
                    agreed = link.client.get_cipher_name() == name
                self.assertEqual(agreed, name in ciphers, (profile, name))

    def test_suites_of_tls_1_3(self) -> None:
        """The three of the guidelines, and not CCM."""
        for name, agreed in (
            *((each, True) for each in PROFILES["modern"].ciphersuites),
            ("TLS_AES_128_CCM_SHA256", False),
        ):
            for profile in PROFILES:
                context = client_context(SSL.TLS1_3_VERSION)
                context.set_tls13_ciphersuites(name.encode())
                self.assertEqual(self.served(context, profile=profile) is not None, agreed, (profile, name))

    def test_groups(self) -> None:
        """The groups of the guideline, and no others."""
        for name in ("X25519MLKEM768", "X25519", "prime256v1", "secp384r1", "secp521r1", "X448", "ffdhe2048"):
            context = client_context(SSL.TLS1_3_VERSION)
            if not profiles._set_groups(context, [name]):
                continue
            for profile, guideline in PROFILES.items():
                served = self.served(context, profile=profile) is not None
                self.assertEqual(served, name in guideline.groups, (profile, name))

    def test_hybrid_group_first(self) -> None:
        """A client that has the hybrid group too gets it."""
        if not profiles._has_group("X25519MLKEM768"):
            self.skipTest("this OpenSSL has no X25519MLKEM768")
        for profile in PROFILES:
            client = self.served(client_context(SSL.TLS1_3_VERSION), profile=profile)
            assert client is not None
            self.assertEqual(client.get_group_name(), "X25519MLKEM768")

    def test_who_prefers(self) -> None:
        """The client's order of suites decides, but in `old` the server's."""
        strong, fast = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
        for first, second in ((strong, fast), (fast, strong)):
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(f"{first}:{second}".encode())
            for profile, expected in (("intermediate", first), ("old", fast)):
                client = self.served(context, profile=profile)
                assert client is not None
                self.assertEqual(client.get_cipher_name(), expected, profile)

    def test_who_prefers_in_tls_1_3(self) -> None:
        """Likewise in TLS 1.3."""
        strong, fast = "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"
        for first, second in ((strong, fast), (fast, strong)):
            context = client_context(SSL.TLS1_3_VERSION)
            context.set_tls13_ciphersuites(f"{first}:{second}".encode())
            for profile, expected in (("modern", first), ("intermediate", first), ("old", fast)):
                client = self.served(context, profile=profile)
                assert client is not None
                self.assertEqual(client.get_cipher_name(), expected, profile)


class OverrideTests(SynchronousTestCase):
    """What a host says in place of a part of its profile."""

    def refused(self, expected: str, *keys: Any, **said: Any) -> None:
        """Assert that this line is the error."""
        wrote = {name.replace("_", "-"): f"f.toml:3: {name.replace('_', '-')}" for name in said}
        with self.assertRaises(ConfigurationError) as caught:
            profile_of(HostSettings(**said, wrote=wrote), keys)
        self.assertEqual(str(caught.exception), f"f.toml:3: {expected}")

    def test_each_part(self) -> None:
        """A part that is said takes the profile's place, and the others stay."""
        ciphers, suites = ("ECDHE-RSA-AES256-GCM-SHA384",), ("TLS_AES_128_CCM_SHA256",)
        made = profile_of(HostSettings(ciphers=ciphers, ciphersuites=suites, groups=("P-384",), max_version="TLSv1.3"))
        self.assertEqual((made.ciphers, made.ciphersuites, made.groups), (ciphers, suites, ("P-384",)))
        self.assertEqual(profile_of(HostSettings(min_version="TLSv1.3")).min_version, "TLSv1.3")
        self.assertEqual(profile_of(HostSettings(max_version="TLSv1.2")).max_version, "TLSv1.2")
        old = profile_of(HostSettings(profile="old", min_version="TLSv1.2"))
        self.assertEqual((old.min_version, old.ciphers), ("TLSv1.2", PROFILES["old"].ciphers))

    def test_served(self) -> None:
        """The parts that are said are those that a client meets."""
        options = tls_options(
            ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",), ciphersuites=("TLS_AES_128_CCM_SHA256",), groups=("P-384",)
        )
        for version, cipher in (
            (SSL.TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (SSL.TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256"),
        ):
            context = client_context(version)
            context.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_SHA256")
            link = Link(options=options, context=context)
            link.handshake()
            self.assertEqual((link.client.get_cipher_name(), link.client.get_group_name()), (cipher, "secp384r1"))

    def test_every_cipher(self) -> None:
        """A suite that is taken can be agreed on."""
        keys = {"RSA": Authority().issue(key=rsa_key()), "ECDSA": key_pair()}
        for name in profiles._known_ciphers():
            if name.startswith("DHE-"):
                continue  # without parameters it is refused
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            link = Link(
                options=tls_options(keys["ECDSA" if "ECDSA" in name else "RSA"], ciphers=(name,)), context=context
            )
            link.handshake()
            self.assertEqual(link.client.get_cipher_name(), name)

    def test_one_version(self) -> None:
        """A host of one version refuses clients of the other."""
        for options, refused in (
            (tls_options(min_version="TLSv1.3"), "TLSv1.2"),
            (tls_options(max_version="TLSv1.2"), "TLSv1.3"),
        ):
            link = Link(options=options, context=anyones_context(refused))
            self.assertRaises(SSL.Error, link.handshake)
            failed = link.events[-1]
            assert isinstance(failed, HandshakeFailed)
            self.assertIs(failed.cause, Cause.OLD_VERSION)

    def test_unknown_cipher(self) -> None:
        """A name that OpenSSL would pass over is an error, with the nearest right one."""
        for wrong, right in (
            ("ECDHE-RSA-AES128-GCM-SHA265", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("ecdhe-rsa-aes256-gcm-sha384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ):
            said = ("ECDHE-ECDSA-AES128-GCM-SHA256", wrong)
            self.refused(f"ciphers={wrong}: OpenSSL has no such suite; did you mean '{right}'?", ciphers=said)

    def test_no_cipher_name(self) -> None:
        """What OpenSSL takes in a list and is no suite's name is an error too."""
        for wrong in ("HIGH", "!aNULL", "ALL:@SECLEVEL=0", ""):
            self.refused(f"ciphers={wrong}: OpenSSL has no such suite", ciphers=(wrong,))

    def test_worthless_cipher(self) -> None:
        """Suites that do not encrypt, or show no certificate, are not to be had."""
        for wrong in ("ECDHE-RSA-NULL-SHA", "ADH-AES256-GCM-SHA384", "PSK-AES256-GCM-SHA384"):
            with self.assertRaisesRegex(ConfigurationError, f"^ciphers={wrong}: OpenSSL has no such suite"):
                profile_of(HostSettings(ciphers=(wrong,)))

    def test_unknown_ciphersuite(self) -> None:
        """Likewise for TLS 1.3, where one that OpenSSL does not serve is none."""
        self.refused(
            "ciphersuites=TLS_AES_128_GCM_SHA265: TLS 1.3 has no such suite; did you mean 'TLS_AES_128_GCM_SHA256'?",
            ciphersuites=("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA265"),
        )
        with self.assertRaisesRegex(ConfigurationError, "^ciphersuites=TLS_SHA256_SHA256: TLS 1.3 has no such suite"):
            profile_of(HostSettings(ciphersuites=("TLS_SHA256_SHA256",)))

    def test_ciphers_in_the_wrong_place(self) -> None:
        """A suite of the other version is told where it belongs."""
        cipher, suite = "ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"
        self.refused(f"ciphers={suite}: a suite of TLS 1.3; it belongs in ciphersuites", ciphers=(suite,))
        self.refused(f"ciphersuites={cipher}: a suite of TLS 1.2; it belongs in ciphers", ciphersuites=(cipher,))

    def test_unknown_group(self) -> None:
        """A group that OpenSSL does not have is an error, with the nearest right one."""
        self.refused(
            "groups=X25519MLKEM786: OpenSSL has no such group; did you mean 'X25519MLKEM768'?",
            groups=("X25519", "X25519MLKEM786"),
        )

    def test_no_group_name(self) -> None:
        """What OpenSSL takes in a list and is no group's name is an error too."""
        for wrong in ("?nonsense", "X25519:P-256", "X25519/P-256", "*X25519", "-X25519", "DEFAULT", "default", ""):
            with self.assertRaises(ConfigurationError) as caught:
                profile_of(HostSettings(groups=(wrong,)))
            self.assertTrue(str(caught.exception).startswith(f"groups={wrong}: OpenSSL has no such group"))

    def test_group_names(self) -> None:
        """A group may be said in each of the names that OpenSSL has for it."""
        for name in ("prime256v1", "P-256", "secp256r1", "x25519"):
            self.assertEqual(profile_of(HostSettings(groups=(name,))).groups, (name,))

    def test_newest_too_old(self) -> None:
        """A newest version that the profile is past."""
        self.refused(
            "max-version=TLSv1.2: older than all that profile modern serves, which is TLSv1.3 on",
            profile="modern", max_version="TLSv1.2",
        )  # fmt: skip

    def test_version_without_suites(self) -> None:
        """An older version than the profile has suites for; with suites it is served."""
        self.refused(
            "min-version=TLSv1.2: profile modern has no suites for it; expected another profile, or ciphers",
            profile="modern", min_version="TLSv1.2",
        )  # fmt: skip
        ciphers = ("ECDHE-ECDSA-AES256-GCM-SHA384",)
        options = tls_options(profile="modern", min_version="TLSv1.2", ciphers=ciphers)
        link = Link(options=options, context=client_context(SSL.TLS1_2_VERSION))
        link.handshake()
        self.assertEqual(link.client.get_cipher_name(), *ciphers)

    def test_suites_without_version(self) -> None:
        """Suites of a version that is not served."""
        cipher, suite = "ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"
        trouble = f"ciphers={cipher}: these are for TLS 1.2, which is not served; expected ciphersuites"
        self.refused(trouble, min_version="TLSv1.3", ciphers=(cipher,))
        self.refused(trouble, profile="modern", ciphers=(cipher,))
        self.refused(
            f"ciphersuites={suite}: these are for TLS 1.3, which is not served; expected ciphers",
            max_version="TLSv1.2", ciphersuites=(suite,),
        )  # fmt: skip

    def test_suites_for_other_keys(self) -> None:
        """Suites of which none fits a key of the host's."""
        of_rsa, of_ecdsa = "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"
        p_256, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
        trouble = "none can be used; expected suites for {}, those with DHE need dh-parameters"
        self.refused(f"ciphers={of_rsa}: {trouble.format('ECDSA')}", p_256, edwards, ciphers=(of_rsa,))
        self.refused(f"ciphers={of_ecdsa}: {trouble.format('RSA')}", rsa_key(), ciphers=(of_ecdsa,))
        self.refused(
            "ciphers=DHE-RSA-AES128-GCM-SHA256: " + trouble.format("ECDSA or RSA"),
            rsa_key(), p_256, ciphers=("DHE-RSA-AES128-GCM-SHA256",),
        )  # fmt: skip
        for keys, cipher in (([rsa_key()], of_rsa), ([p_256], of_ecdsa), ([edwards], of_ecdsa), ([], of_rsa)):
            self.assertEqual(profile_of(HostSettings(ciphers=(cipher,)), keys).ciphers, (cipher,))

    def test_groups_for_other_versions(self) -> None:
        """A hybrid group alone, where TLS 1.3 is not served."""
        self.refused(
            "groups=X25519MLKEM768: it is for TLS 1.3, which is not served; expected X25519 too",
            max_version="TLSv1.2", groups=("X25519MLKEM768",),
        )  # fmt: skip
        both = ("X25519MLKEM768", "X25519")
        self.assertEqual(profile_of(HostSettings(max_version="TLSv1.2", groups=both)).groups, both)

    def test_groups_that_nobody_can_use(self) -> None:
        """Finite fields in TLS 1.2 without parameters for them, the curves of TLS 1.2 in TLS 1.3."""
        finite = ("ffdhe2048", "ffdhe3072")
        self.refused(
            "groups=ffdhe2048: it is for TLS 1.3, which is not served; expected X25519 too",
            max_version="TLSv1.2", groups=finite,
        )  # fmt: skip
        self.refused(
            "groups=brainpoolP256r1: it is for TLS 1.2, which is not served; expected X25519 too",
            profile="modern", groups=("brainpoolP256r1",),
        )  # fmt: skip
        for said in (
            {"max_version": "TLSv1.2", "groups": finite, "dh_parameters": "dh.pem"},
            {"profile": "modern", "groups": finite},
            {"groups": ("brainpoolP256r1",)},
            {"profile": "modern", "groups": ("brainpoolP256r1", "P-256")},
        ):
            self.assertEqual(profile_of(HostSettings(**said)).groups, said["groups"])

    def test_diffie_hellman(self) -> None:
        """Parameters bring back the DHE suites, where TLS 1.2 is served with the profile's suites."""
        dhe = "DHE-RSA-AES128-GCM-SHA256"
        self.assertNotIn(dhe, profile_of(HostSettings()).ciphers)
        self.assertIn(dhe, profile_of(HostSettings(dh_parameters="dh.pem")).ciphers)
        self.assertEqual(profile_of(HostSettings(profile="modern", dh_parameters="dh.pem")).ciphers, ())
        old = profile_of(HostSettings(profile="old", dh_parameters="dh.pem")).ciphers
        self.assertEqual(len(old), len(set(old)))
        own = ("ECDHE-RSA-AES128-GCM-SHA256",)
        self.assertEqual(profile_of(HostSettings(ciphers=own, dh_parameters="dh.pem")).ciphers, own)


class MethodTests(SynchronousTestCase):
    """`sslmethod`, the word of Twisted's `ssl:`."""

    def test_versions(self) -> None:
        """Each that means all serves TLS 1.2 and 1.3; C{TLSv1_2_METHOD} is that version and no other."""
        for method in ("TLS_METHOD", "TLS_SERVER_METHOD", "SSLv23_METHOD"):
            for version in ("TLSv1.2", "TLSv1.3"):
                link = Link(options=tls_options(sslmethod=method), context=anyones_context(version))
                link.handshake()
                self.assertEqual(link.client.get_protocol_version_name(), version, method)
        options = tls_options(sslmethod="TLSv1_2_METHOD")
        link = Link(options=options)
        link.handshake()
        self.assertEqual(link.client.get_protocol_version_name(), "TLSv1.2")
        self.assertRaises(SSL.Error, Link(options=options, context=anyones_context("TLSv1.3")).handshake)

    def test_methods_of_openssl(self) -> None:
        """Every method that is known is a name of C{OpenSSL.SSL}, as in Twisted's C{ssl:}."""
        for method in METHODS:
            self.assertIsInstance(getattr(SSL, method), int)

    def test_old_method(self) -> None:
        """What is too old is refused by name."""
        for method in ("SSLv2_METHOD", "SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD"):
            with self.assertRaisesRegex(
                ConfigurationError, f"^sslmethod={method}: versions before TLS 1.2 are not served"
            ):
                profile_of(HostSettings(sslmethod=method))

    def test_all_at_once(self) -> None:
        """Each wrong name of each list is told."""
        wrong = HostSettings(
            ciphers=("NO", "TLS_AES_128_GCM_SHA256"), ciphersuites=("NEIN",), groups=("non", "X25519", "net")
        )
        error = self.assertRaises(ConfigurationError, profile_of, wrong)
        self.assertEqual(
            [line.partition(":")[0] for line in error.lines],
            ["ciphers=NO", "ciphers=TLS_AES_128_GCM_SHA256", "ciphersuites=NEIN", "groups=non", "groups=net"],
        )

    def test_unknown_method(self) -> None:
        """What is no method is refused with the nearest one."""
        with self.assertRaisesRegex(
            ConfigurationError, r"^sslmethod=TLS1_2_METHOD: no such method; did you mean 'TLSv1_2_METHOD'\?$"
        ):
            profile_of(HostSettings(sslmethod="TLS1_2_METHOD"))

    def test_beside_our_own_words(self) -> None:
        """It does not go with the words that say the same."""
        cases: tuple[dict[str, Any], ...] = (
            {"min_version": "TLSv1.2"},
            {"max_version": "TLSv1.3"},
            {"profile": "old"},
            {"profile": "intermediate", "wrote": {"profile": "profile"}},
        )
        for said in cases:
            with self.assertRaisesRegex(
                ConfigurationError, "^sslmethod=TLS_METHOD: it does not go with profile, min-?[vV]ersion or max"
            ):
                profile_of(HostSettings(sslmethod="TLS_METHOD", **said))


class DoorTests(SynchronousTestCase):
    """What pyOpenSSL has no public call for."""

    def test_missing(self) -> None:
        """A pyOpenSSL without the private names has no door."""
        self.assertIsNotNone(find_door(SSL))
        lacking: tuple[Any, ...] = (
            SimpleNamespace(),
            SimpleNamespace(_lib=SimpleNamespace(ERR_get_error=None)),
            SimpleNamespace(_lib=SimpleNamespace(SSL_CTX_set1_curves_list=None)),
        )
        for module in lacking:
            self.assertIsNone(find_door(module))

    def test_groups_of_the_profile(self) -> None:
        """Without it a profile's host is served with OpenSSL's own groups."""
        self.without_door()
        link = Link(options=tls_options(), context=client_context(SSL.TLS1_3_VERSION))
        link.handshake()
        self.assertEqual(link.kinds()[-1], "Established")

    def test_groups_of_the_user(self) -> None:
        """Without it groups that were asked for are an error."""
        self.without_door()
        with self.assertRaisesRegex(ConfigurationError, "^groups=X25519: this pyOpenSSL cannot set groups"):
            profile_of(HostSettings(groups=("X25519",)))

    def test_group_of_later_versions(self) -> None:
        """A group of a profile's that OpenSSL does not have is left out, and the others stay."""
        asked: list[list[str]] = []
        self.patch(profiles, "_has_group", lambda name: name != "X25519MLKEM768")
        self.patch(profiles, "_set_groups", lambda context, names: asked.append(names))
        apply_to(SSL.Context(SSL.TLS_METHOD), PROFILES["modern"])
        self.assertEqual(asked, [["X25519", "prime256v1", "secp384r1"]])

    def test_nothing_left_behind(self) -> None:
        """A name that OpenSSL does not know leaves no error for whoever asks OpenSSL next."""
        self.assertFalse(profiles._set_groups(SSL.Context(SSL.TLS_METHOD), ["nonsense"]))
        link = Link()
        link.handshake()
        self.assertEqual(link.kinds()[-1], "Established")

    def without_door(self) -> None:
        """Be a pyOpenSSL that has none."""
        self.patch(profiles, "_door", None)
        profiles._has_group.cache_clear()
        self.addCleanup(profiles._has_group.cache_clear)
