"""How the operator logs in to a registry, whom it trusts, and what it never gives away."""

import asyncio
import base64
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from html import escape
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from controller import metrics, registry_client
from controller.errors import Waiting
from controller.registry_client import RegistryClient
from controller.registry_refusals import Need
from controller.settings import RegistrySettings

NEED = Need("READ on the registered model 'fraud'")
BASIC: dict[str, Any] = {"auth": {"basicSecret": {"name": "login"}}}
BEARER: dict[str, Any] = {"auth": {"bearerSecret": {"name": "login", "key": "mlflow-token"}}}


def requests(client: RegistryClient, code: str) -> float:
    """How many were counted with that answer."""
    labels = {"registry": client.settings.name, "code": code}
    return metrics.registry.get_sample_value("modeldeployment_registry_requests_total", labels) or 0


Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name, said in {"username": "operator\n", "password": "pässword\n", "token": "t0ken", "header-1": "k3y"}.items():
        (tmp_path / name).write_text(said)
    return tmp_path


@pytest.fixture
async def mlflow() -> AsyncIterator[TestServer]:
    """It says who asked."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def settings(server: BaseTestServer, **more: Any) -> RegistrySettings:
    return RegistrySettings.model_validate({"name": "main", "uri": str(server.make_url("/")), **more})


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def refused(client: RegistryClient) -> Waiting:
    with pytest.raises(Waiting) as error:
        await client.json("/api", {}, NEED)
    for secret in ("pässword", "t0ken", "k3y"):
        assert secret not in str(error.value)
    return error.value


async def test_a_registry_without_auth_is_asked_without(
    mlflow: TestServer, session: aiohttp.ClientSession, secrets: Path
) -> None:
    assert "Authorization" not in await RegistryClient(settings(mlflow), secrets, session).json("/api", {}, NEED)


async def test_what_is_rotated_is_used_at_once(mlflow: TestServer, session: aiohttp.ClientSession, secrets: Path) -> None:
    client = RegistryClient(settings(mlflow, **BASIC), secrets, session)
    said = await client.json("/api", {}, NEED)
    assert said["Authorization"] == basic("operator", "pässword")
    (secrets / "password").write_text("another")
    said = await client.json("/api", {}, NEED)
    assert said["Authorization"] == basic("operator", "another")


async def test_a_token_and_headers_are_sent(mlflow: TestServer, session: aiohttp.ClientSession, secrets: Path) -> None:
    headers = [{"name": "X-Workspace", "value": "fraud"}, {"name": "X-Api-Key", "secret": {"name": "gateway", "key": "key"}}]
    said = await RegistryClient(settings(mlflow, **BEARER, headers=headers), secrets, session).json("/api", {}, NEED)
    assert (said["Authorization"], said["X-Workspace"], said["X-Api-Key"]) == ("Bearer t0ken", "fraud", "k3y")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("username", None, "key 'username' of the Secret 'login' in the operator's namespace, and it is not there"),
        ("password", b"\n", "key 'password' of the Secret 'login' in the operator's namespace, and it is empty"),
        ("password", b"p\xe4ssword", "it is no text"),
        ("password", b"one\r\nX-Other: two", "line breaks"),
        ("username", b"a:b", "has a ':'"),
    ],
)
async def test_a_secret_that_is_of_no_use_is_named(
    mlflow: TestServer, session: aiohttp.ClientSession, secrets: Path, file: str, content: bytes | None, said: str
) -> None:
    (secrets / file).unlink()
    if content is not None:
        (secrets / file).write_bytes(content)
    error = await refused(RegistryClient(settings(mlflow, **BASIC), secrets, session))
    assert error.reason == "RegistrySecretUnusable"
    assert said in error.message


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(*answers: tuple[str, Answer]) -> TestServer:
    app = web.Application()
    app.add_routes([web.get(path, answer) for path, answer in answers])
    return TestServer(app)


async def test_no_redirect_is_followed_with_what_is_secret(session: aiohttp.ClientSession, secrets: Path) -> None:
    reached = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(request)
        return web.json_response({})

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("/login?state=s3cret")

    async with answering(("/api", redirect), ("/login", elsewhere)) as server:
        error = await refused(RegistryClient(settings(server, **BEARER), secrets, session))
    assert reached == []
    assert "sends the operator elsewhere (302, to /login)" in error.message


PASSWORD = 'p&ss "wörd/1'
TOKEN = "t0ken/+very-secret"
NEVER = ("p&ss", "wörd", "w\\u00f6rd", "w%c3%b6rd", "very-secret", "h3ader-secret", basic("operator", PASSWORD)[6:].rstrip("="))


@pytest.mark.parametrize(("more", "proof"), [(BASIC, PASSWORD), (BEARER, TOKEN)], ids=["basic", "bearer"])
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 500])
@pytest.mark.parametrize("spelled", ["as JSON", "as MLflow", "as HTML", "as MLflow that has it not", "as a status line"])
async def test_what_a_server_repeats_of_the_login_is_masked(
    session: aiohttp.ClientSession, tmp_path: Path, more: dict[str, Any], proof: str, status: int, spelled: str
) -> None:
    for name, said in {"username": "operator", "password": PASSWORD, "token": TOKEN, "header-0": "Bearer h3ader-secret"}.items():
        (tmp_path / name).write_text(said)

    async def repeat(request: web.Request) -> web.StreamResponse:
        known = f"{request.headers['Authorization']} {request.headers['X-Login'].upper()} {proof}"
        if spelled == "as a status line":
            assert isinstance(request.transport, asyncio.WriteTransport)
            request.transport.write(f"{known}\r\n\r\n".encode())
        answer = {
            "as JSON": json.dumps([known]),
            "as MLflow": json.dumps({"message": known}),
            "as HTML": f"said: {escape(known)}",
            "as MLflow that has it not": json.dumps({"message": known, "error_code": "RESOURCE_DOES_NOT_EXIST"}),
        }.get(spelled)
        return web.Response(status=status, text=answer, headers={"Location": f"/{quote(known)}/{quote(known, safe='')}"})

    header = {"name": "X-Login", "secret": {"name": "gateway", "key": "key"}}
    async with answering(("/api", repeat)) as server:
        client = RegistryClient(settings(server, **more, headers=[header]), tmp_path, session)
        with pytest.raises(Waiting) as error:
            await client.json("/api", {}, NEED)
    assert [secret for secret in NEVER if secret.lower() in str(error.value).lower()] == []
    assert ("speaks no HTTP" if spelled == "as a status line" else "***") in error.value.message


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (BASIC, 401, "username and the password of the Secret 'login'"),
        (BEARER, 401, "key 'mlflow-token' of the Secret 'login'"),
        (BASIC, 403, "does not let the user 'operator' in: it needs READ on the registered model 'fraud'"),
        (BEARER, 403, "does not let the operator in: it needs READ on the registered model 'fraud'"),
    ],
)
async def test_a_refusal_names_its_remedy(
    session: aiohttp.ClientSession, secrets: Path, more: dict[str, Any], status: int, said: str
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status, text="Permission denied")

    async with answering(("/api", refuse)) as server:
        error = await refused(RegistryClient(settings(server, **more), secrets, session))
    assert error.reason == "RegistryRefused"
    assert said in error.message


async def test_a_registry_that_hangs_holds_up_one_question_and_not_each(
    session: aiohttp.ClientSession, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hangs = [], asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 1:
            await hangs.wait()
        return web.json_response({})

    async with answering(("/{path:.*}", answer)) as server:
        client = RegistryClient(settings(server, name="hangs"), secrets, session)
        with monkeypatch.context() as impatient:
            impatient.setattr(registry_client, "REQUEST_TIMEOUT", aiohttp.ClientTimeout(total=0.2))
            first = await refused(client)
        assert first.reason == "RegistryUnavailable"
        assert "cannot be reached (no answer in time)" in first.message
        for _ in range(20):
            assert (await refused(client)).message == first.message
        assert len(asked) == 1
        assert requests(client, "none") == 1
        monkeypatch.setattr(registry_client, "OUTAGE_SECONDS", 0.0)
        assert await client.json("/api", {}, NEED) == {}
        monkeypatch.undo()
        assert await client.json("/api", {}, NEED) == {}, "it is over"
        assert (requests(client, "200"), requests(client, "none")) == (2, 1)
        hangs.set()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"uri": "https://me:s3cret@mlflow"}, "auth.basicSecret"),
        ({"uri": "https://mlflow?token=s3cret"}, "uri"),
        ({"headers": [{"name": "authorization", "value": "s3cret"}]}, "into a Secret"),
        ({"headers": [{"name": "X-Key"}]}, "exactly one of value and secret"),
        ({"auth": {}}, "exactly one of basicSecret and bearerSecret"),
        ({**BASIC, "headers": [{"name": "Authorization", "secret": {"name": "s", "key": "k"}}]}, "twice"),
        ({"caSecret": {"name": "a", "key": "b"}, "caConfigMap": {"name": "a", "key": "b"}}, "one of caSecret and caConfigMap"),
    ],
)
def test_settings_that_would_leak_or_contradict_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        RegistrySettings.model_validate({"name": "main", "uri": "https://mlflow", **wrong})
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(key: ec.EllipticCurvePrivateKey, address: str = "127.0.0.1") -> bytes:
    """Signed by itself, as where a company has an authority of its own."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mlflow")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority(key: ec.EllipticCurvePrivateKey) -> bytes:
    return certificate(key)


@pytest.fixture
def pem(key: ec.EllipticCurvePrivateKey, authority: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    path.write_bytes(
        authority + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
async def over_tls(mlflow: TestServer, pem: Path) -> AsyncIterator[TestServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    server = TestServer(mlflow.app, scheme="https")
    await server.start_server(ssl=context)
    yield server
    await server.close()


async def test_a_certificate_of_nobody_known_names_the_setting(
    over_tls: TestServer, session: aiohttp.ClientSession, secrets: Path
) -> None:
    error = await refused(RegistryClient(settings(over_tls, **BASIC), secrets, session))
    assert error.reason == "RegistryUntrusted"
    assert "caSecret" in error.message


@pytest.mark.parametrize("source", ["caSecret", "caConfigMap"])
async def test_the_named_authority_is_trusted_and_can_be_rotated(
    over_tls: TestServer, session: aiohttp.ClientSession, authority: bytes, secrets: Path, source: str
) -> None:
    client = RegistryClient(settings(over_tls, **{source: {"name": "company", "key": "bundle"}}), secrets, session)
    assert (await refused(client)).reason == "RegistrySecretUnusable"
    (secrets / "ca.crt").write_text("no certificate")
    assert "no certificates as PEM" in (await refused(client)).message
    (secrets / "ca.crt").write_bytes(certificate(ec.generate_private_key(ec.SECP256R1())))
    assert (await refused(client)).reason == "RegistryUntrusted"
    (secrets / "ca.crt").write_bytes(authority)
    assert await client.json("/api", {}, NEED)
