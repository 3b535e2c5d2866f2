"""The keys and certificates of the cluster: two authorities, and a certificate for each who talks to the API server."""

import datetime
import ipaddress
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a certificate is for: the user and group that Kubernetes reads from it, the names it serves under."""

    name: str
    group: str | None = None
    names: Sequence[str] = ()
    authority: str = "ca"


@dataclass(frozen=True, slots=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def write(folder: Path, subjects: dict[str, Subject]) -> None:
    """Write `<file>.crt` and `<file>.key` for each subject, all or none: the folder appears when it is complete."""
    if folder.exists():
        return
    temporary = folder.with_suffix(".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    authorities = {name: _authority(name) for name in ("ca", "front-proxy-ca")}
    for name, authority in authorities.items():
        _save(temporary / name, authority.key, authority.certificate)
    for file, subject in subjects.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _save(temporary / file, key, _certificate(subject, key, authorities[subject.authority]))
    accounts = ec.generate_private_key(ec.SECP256R1())
    (temporary / "service-accounts.key").write_bytes(_private(accounts))
    (temporary / "service-accounts.pub").write_bytes(
        accounts.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    temporary.rename(folder)


def _authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def _certificate(subject: Subject, key: ec.EllipticCurvePrivateKey, authority: Authority) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject.name)]
    if subject.group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group))
    builder = _builder(x509.Name(attributes), authority.certificate.subject, key)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if subject.names:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(each) for each in subject.names]), False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(hours=1),
        not_valid_after=now + LIFETIME,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _save(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    path.with_suffix(".key").write_bytes(_private(key))
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
