"""What is secret about registries reaches the operator as files, where it looks for them, and nobody else."""

from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.registry_client import RegistryClient
from controller.registry_refusals import Need
from controller.settings import Settings
from tests.chart.rendering import REGISTRIES, Helm, Object, Rendered

BEARER = {"name": "token", "uri": "https://a.example", "auth": {"bearerSecret": {"name": "robot", "key": "mlflow.token"}}}
BASIC = {
    "name": "basic",
    "uri": "https://b.example/mlflow",
    "auth": {"basicSecret": {"name": "login"}},
    "headers": [
        {"name": "X-Workspace", "value": 'it\'s "fraud"'},
        {"name": "X-Api-Key", "secret": {"name": "gateway", "key": "api-key"}},
    ],
    "caConfigMap": {"name": "company", "key": "bundle.pem"},
    "allowedNamespaces": ["team-*"],
    "allowedModels": ["fraud*"],
}


def sources(rendered: Rendered) -> list[Object]:
    (volume,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "registries"]
    found: list[Object] = volume["projected"]["sources"]
    return found


def test_without_secrets_nothing_is_mounted(rendered: Rendered) -> None:
    assert "registries" not in {volume["name"] for volume in rendered.pod["volumes"]}
    assert "registries" not in {mount["name"] for mount in rendered.container("controller")["volumeMounts"]}


def test_only_the_container_that_reconciles_sees_them_and_never_as_environment(helm: Helm) -> None:
    rendered = helm.render(registries=[BEARER, BASIC])
    (mount,) = [mount for mount in rendered.container("controller")["volumeMounts"] if mount["name"] == "registries"]
    assert mount == {"name": "registries", "mountPath": "/etc/registries", "readOnly": True}
    assert "registries" not in {mount["name"] for mount in rendered.container("store")["volumeMounts"]}
    assert "secretKeyRef" not in helm.text(registries=[BEARER, BASIC])
    assert "envFrom" not in helm.text(registries=[BEARER, BASIC])


def test_one_that_is_missing_does_not_keep_the_operator_from_starting(helm: Helm) -> None:
    for source in sources(helm.render(registries=[BEARER, BASIC])):
        (named,) = source.values()
        assert named["optional"] is True


async def test_the_operator_finds_each_where_it_is_mounted(helm: Helm, tmp_path: Path) -> None:
    async def say_who_asked(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    app = web.Application()
    app.router.add_get("/{path:.*}", say_who_asked)
    mlflow = TestServer(app)
    await mlflow.start_server()
    uri = str(mlflow.make_url("/"))
    rendered = helm.render(registries=[*REGISTRIES, {**BEARER, "uri": uri}, {**BASIC, "uri": uri}])
    for source in sources(rendered):
        ((kind, named),) = source.items()
        for item in named["items"]:
            path = tmp_path / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{kind}/{named['name']}/{item['key']}")

    settings = Settings.model_validate_json(rendered.settings())
    assert str(settings.registries_dir) == "/etc/registries"
    assert (settings.registries[2].allowed_namespaces, settings.registries[2].allowed_models) == (("team-*",), ("fraud*",))
    said: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as session:
        for place, registry in enumerate(settings.registries[1:], start=1):
            without_ca = registry.model_copy(update={"ca_config_map": None})
            client = RegistryClient(without_ca, tmp_path / str(place), session)
            said.append(await client.json("/", {}, Need("")))
    await mlflow.close()
    assert said[0]["Authorization"] == "Bearer secret/robot/mlflow.token"
    assert said[1]["Authorization"] == aiohttp.encode_basic_auth("secret/login/username", "secret/login/password")
    assert said[1]["X-Workspace"] == 'it\'s "fraud"'
    assert said[1]["X-Api-Key"] == "secret/gateway/api-key"
    assert (tmp_path / "2" / "ca.crt").read_text() == "configMap/company/bundle.pem"
