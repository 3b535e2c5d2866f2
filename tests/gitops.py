"""What Argo CD, Flux and Helm make of a ModelDeployment, by the rules that they publish.

Argo CD runs Lua 5.1 with the base and table libraries and two functions of `os`. It takes an empty table for an empty list, and
puts a map back that a script left empty. Flux and Helm 4 wait by kstatus. Each is done here as there, and no more.
"""

import copy
import time
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from lupa import lua51

Object = dict[str, Any]

SCRIPTS = Path(__file__).parents[1] / "manifests" / "gitops" / "argocd" / "argocd-cm.yaml"
KEY = "resource.customizations.{}.mlserving.dev_ModelDeployment"

# Argo CD opens no other libraries unless it is told to.
SANDBOX = """
local now = ...
for name in pairs(_G) do
  if name ~= "table" and type(_G[name]) == "table" and name ~= "_G" then _G[name] = nil end
end
getmetatable("").__index = nil
require = function(name)
  assert(name == "os", "Argo CD has no module " .. name)
  return {time = function() return 0 end, date = function(format) assert(format == "!%Y-%m-%dT%XZ"); return now end}
end
dofile, loadfile, newproxy, python = nil, nil, nil, nil
"""


@cache
def _scripts() -> dict[str, Any]:
    data = yaml.safe_load(SCRIPTS.read_text())["data"]
    return {"health": data[KEY.format("health")], **yaml.safe_load(data[KEY.format("actions")])}


def health(resource: Object) -> tuple[str, str]:
    """Argo CD's health of it, and the message beside."""
    found = _run(_scripts()["health"], resource)
    return found["status"], found["message"]


def actions(resource: Object) -> set[str]:
    """The actions that Argo CD offers for it."""
    return {name for name, told in _run(_scripts()["discovery.lua"], resource).items() if not told["disabled"]}


def acted(resource: Object, action: str) -> Object:
    """The merge patch that Argo CD sends for an action."""
    (script,) = [each["action.lua"] for each in _scripts()["definitions"] if each["name"] == action]
    return _merge_patch(resource, _as_it_was_where_empty(_run(script, resource), resource))


def kstatus(resource: Object) -> str:
    """The status by which Flux and Helm 4 wait: InProgress, Current, Failed or Terminating."""
    if resource["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = resource.get("status", {})
    if status.get("observedGeneration", ...) not in (resource["metadata"]["generation"], ...):
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


def _run(script: str, resource: Object) -> Any:
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute(SANDBOX, time.strftime("%Y-%m-%dT%XZ", time.gmtime()))
    lua.globals().obj = _to_lua(lua, resource)
    return _from_lua(lua.execute(script))


def _to_lua(lua: lua51.LuaRuntime, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _to_lua(lua, each) for key, each in value.items() if each is not None})
    if isinstance(value, list):
        return lua.table_from([_to_lua(lua, each) for each in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    members = {key: _from_lua(each) for key, each in value.items()}
    return list(members.values()) if all(isinstance(key, int) for key in members) else members


def _as_it_was_where_empty(new: Any, old: Any) -> Any:
    if isinstance(new, list) and not new and isinstance(old, dict):
        return copy.deepcopy(old)
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _as_it_was_where_empty(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        return [_as_it_was_where_empty(*both) for both in zip(new, old, strict=True)]
    return new


def _merge_patch(old: Object, new: Object) -> Object:
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := _merge_patch(before, value):
                patch[key] = inner
        elif value != before:
            patch[key] = value
    return patch
