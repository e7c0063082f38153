"""A certificate as the ssl module shows it: what C{getpeercert()} answers to code written for `ssl`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID

from mytls.peer import serial_text


def as_ssl_dict(certificate: x509.Certificate) -> dict[str, Any]:
    """
    A certificate in the shape of C{ssl.SSLSocket.getpeercert()}.

    @see: U{https://docs.python.org/3/library/ssl.html#ssl.SSLSocket.getpeercert}
    """
    extensions = _extensions(certificate)
    found: dict[str, Any] = {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "version": certificate.version.value + 1,
        "serialNumber": serial_text(certificate.serial_number),
        "notBefore": _ssl_date(certificate.not_valid_before_utc),
        "notAfter": _ssl_date(certificate.not_valid_after_utc),
    }
    names = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if names is not None:
        found["subjectAltName"] = tuple(_general_name(each) for each in names)
    access = extensions.get(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ())
    for key, method in (
        ("OCSP", AuthorityInformationAccessOID.OCSP),
        ("caIssuers", AuthorityInformationAccessOID.CA_ISSUERS),
    ):
        places = _uris(each.access_location for each in access if each.access_method == method)
        if places:
            found[key] = places
    points = extensions.get(ExtensionOID.CRL_DISTRIBUTION_POINTS, ())
    lists = _uris(name for point in points for name in point.full_name or ())
    if lists:
        found["crlDistributionPoints"] = lists
    return found


def _extensions(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, Any]:
    """Those that it has; of a certificate whose extensions do not parse none: it still has a subject."""
    try:
        return {each.oid: each.value for each in certificate.extensions}
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return {}


#: OpenSSL's long names (`openssl list -objects`), which the ssl module uses, by object identifier.
_LONG_NAMES = {
    NameOID.COMMON_NAME: "commonName",
    NameOID.COUNTRY_NAME: "countryName",
    NameOID.LOCALITY_NAME: "localityName",
    NameOID.STATE_OR_PROVINCE_NAME: "stateOrProvinceName",
    NameOID.STREET_ADDRESS: "streetAddress",
    NameOID.ORGANIZATION_NAME: "organizationName",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizationalUnitName",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "surname",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.TITLE: "title",
    NameOID.DOMAIN_COMPONENT: "domainComponent",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.USER_ID: "userId",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.INITIALS: "initials",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.X500_UNIQUE_IDENTIFIER: "x500UniqueIdentifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionCountryName",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionLocalityName",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionStateOrProvinceName",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.POSTAL_ADDRESS: "postalAddress",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
    NameOID.INN: "INN",
    NameOID.OGRN: "OGRN",
    NameOID.SNILS: "SNILS",
}


def _name(name: x509.Name) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(tuple((_long_name(each.oid), _text(each.value)) for each in rdn) for rdn in name.rdns)


def _long_name(oid: x509.ObjectIdentifier) -> str:
    return _LONG_NAMES.get(oid, oid.dotted_string)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _general_name(name: x509.GeneralName) -> tuple[str, Any]:
    match name:
        case x509.DNSName():
            return ("DNS", name.value)
        case x509.RFC822Name():
            return ("email", name.value)
        case x509.UniformResourceIdentifier():
            return ("URI", name.value)
        case x509.IPAddress():
            return ("IP Address", _openssl_ip(name))
        case x509.DirectoryName():
            return ("DirName", _name(name.value))
        case x509.RegisteredID():
            return ("Registered ID", _long_name(name.value))
        case _:
            return ("othername", "<unsupported>")


def _openssl_ip(name: x509.IPAddress) -> str:
    """OpenSSL writes an IPv6 address as eight groups in upper case, without `::`."""
    packed: bytes = name.value.packed if hasattr(name.value, "packed") else b""
    if len(packed) != 16:
        return str(name.value)
    return ":".join(f"{int.from_bytes(packed[i : i + 2], 'big'):X}" for i in range(0, 16, 2))


def _uris(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


def _ssl_date(moment: datetime.datetime) -> str:
    """RFC 5280's times as C{ASN1_TIME_print} writes them: `Jan  5 09:34:43 2018 GMT`."""
    month = _MONTHS[moment.month - 1]
    return f"{month} {moment.day:2d} {moment:%H:%M:%S} {moment.year} GMT"


#: As OpenSSL writes them; C{strftime}'s are those of the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
