"""OCSP responses (RFC 6960) that are sent with a certificate (RFC 6066 section 8), and whose they are."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp

from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.files import Files, read


@attrs.frozen
class Staple:
    """
    What is sent with one certificate.

    @ivar response: an OCSP response, DER, or None
    @ivar notes: why there is none although there is a file, a sentence each
    """

    response: bytes | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen
class _Response:
    """
    An OCSP response that says of these certificates that they are good.

    @ivar der: the response
    @ivar ends: its nextUpdate for each, by the certificate's serial number
    """

    path: str
    der: bytes
    ends: dict[int, datetime.datetime | None]

    def staple(self, serial: int, now: datetime.datetime) -> Staple:
        end = self.ends[serial]
        if end is None or now < end:
            return Staple(self.der)
        return Staple(
            None, (f"the OCSP response in {self.path} ended on {end:%Y-%m-%d} and is not sent: get a new one",)
        )


def staples(
    settings: HostSettings, leaves: Sequence[tuple[x509.Certificate, Iterable[str]]], files: Files
) -> list[Staple]:
    """
    The staple of each certificate: from the files of `ocsp`; without them, from the file beside that is called as the
    certificate's, with `.ocsp` at its end.

    @param leaves: certificates, each with the files that it is in
    @raise ConfigurationError: a file of `ocsp` that is none, is of none of the certificates, or says that one is not
        good; of a file beside, that is a note
    """
    now = files.moment()
    serials = {certificate.serial_number for certificate, _ in leaves}
    if settings.ocsp:
        said = _said(settings, serials, files)
        return [
            said[leaf.serial_number].staple(leaf.serial_number, now) if leaf.serial_number in said else Staple()
            for leaf, _ in leaves
        ]
    return [_beside(leaf.serial_number, serials, paths, files, now) for leaf, paths in leaves]


def _said(settings: HostSettings, serials: set[int], files: Files) -> dict[int, _Response]:
    found: dict[int, _Response] = {}
    for path in settings.ocsp:
        der = read(settings, "ocsp", path, files)
        try:
            response = _response(path, der)
        except ConfigurationError as error:
            raise settings.wrong("ocsp", path, str(error)) from None
        own = serials & response.ends.keys()
        if not own:
            raise settings.wrong("ocsp", path, "the response is for none of the certificates")
        for serial in own:
            if serial in found:
                raise settings.wrong("ocsp", path, f"for the same certificate as {found[serial].path}; leave one out")
            found[serial] = response
    return found


def _beside(serial: int, serials: set[int], paths: Iterable[str], files: Files, now: datetime.datetime) -> Staple:
    notes: list[str] = []
    for path in (f"{path}.ocsp" for path in paths):
        try:
            der = files.maybe(path)
            response = None if der is None else _response(path, der)
        except ConfigurationError as error:
            notes.append(f"{path} is not sent: {error}")
            continue
        except OSError as error:
            notes.append(f"{path} is not sent: it cannot be read: {error.strerror}")
            continue
        if response is not None and serial in response.ends:
            return response.staple(serial, now)
        if response is not None and not serials & response.ends.keys():
            notes.append(f"{path} is not sent: the response is for another certificate; get one for this")
    return Staple(None, tuple(notes))


def _response(path: str, der: bytes) -> _Response:
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
            status = response.response_status.name.lower().replace("_", " ")
            raise ConfigurationError(f"the responder has answered {status}; get a new response")
        singles = list(response.responses)
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError("not an OCSP response; expected DER") from None
    for single in singles:
        if single.certificate_status != ocsp.OCSPCertStatus.GOOD:
            status = single.certificate_status.name.lower()
            raise ConfigurationError(f"the responder says that the certificate is {status}; serve another certificate")
    return _Response(path, der, {single.serial_number: single.next_update_utc for single in singles})
