"""An API on loopback that gcloud takes for Google Cloud's: it records each request and remembers what was made."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from deploy.remembered import Json, Memory

PROJECT: Final = "atom-test-project"
NUMBER: Final = "123456789012"

SERVICES: Final = (
    "ARTIFACTREGISTRY", "CLOUDBUILD", "CLOUDFUNCTIONS", "CLOUDRESOURCEMANAGER", "CLOUDSCHEDULER", "FIRESTORE", "IAM",
    "LOGGING", "MONITORING", "PUBSUB", "RUN", "SECRETMANAGER", "SERVICEUSAGE", "STORAGE",
)  # fmt: skip
"""The services whose endpoints gcloud is led to here."""

REGIONS: Final = ("europe-west1", "europe-west9", "europe-west77", "us-central1")
"""Those that have functions, one of which is new."""

FUNCTIONS_API: Final = "cloudfunctions.googleapis.com"

_VERSION: Final = re.compile(r"^/(?:apis/[\w.]+/|storage/|upload/storage/)?v\d\w*/")
_METADATA: Final = {"metadata": {"@type": "type.googleapis.com/google.protobuf.Struct"}}
_BUILD: Final = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
_DONE: Final = {"done": True, "name": "operations/done", **_METADATA}
_ANSWERED_AT_ONCE: Final = frozenset(
    {
        "topics",
        "subscriptions",
        "serviceAccounts",
        "jobs",
        "secrets",
        "alertPolicies",
        "notificationChannels",
        "versions",
    }
)
"""Collections whose resources are the answer themselves; others answer a long operation."""

_LISTED_AS: Final = {"serviceAccounts": "accounts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any

    @property
    def changes(self) -> bool:
        """Whether it could change anything."""
        asks = (":getIamPolicy", ":testIamPermissions", ":generateUploadUrl", ":generateServiceIdentity")
        return self.method != "GET" and not self.path.endswith(asks)


@dataclass(slots=True)
class Cloud:
    """The API: `requests` in the order in which they came, `memory` as they left it."""

    memory: Memory = field(default_factory=Memory)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    enabled: set[str] = field(default_factory=set)
    refused: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def refuse(self, path: str, *answers: tuple[int, str]) -> None:
        """Answer the next changes of that path with these errors."""
        self.refused[path] = list(answers)

    def changes(self) -> list[Request]:
        """Return the requests so far that could change something."""
        return [request for request in self.requests if request.changes]

    def sent(self, method: str, ending: str) -> list[Any]:
        """Return what a method sent to the paths that end so."""
        return [one.body for one in self.requests if one.method == method and one.path.endswith(ending)]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return variables with which gcloud calls only this API.

        They also keep it from its user's own settings.
        """
        token = folder / "token"
        token.write_text("no-token")
        endpoints = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{self.url}/" for name in SERVICES}
        endpoints["CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"] = f"{self.url}/storage/v1/"
        return {
            **endpoints,
            "CLOUDSDK_CONFIG": str(folder / "config"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            # Cloud Run's commands put the region before the host, so that only a proxy leads them here.
            "http_proxy": self.url,
            "no_proxy": "",
        }

    # -- answering

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and JSON."""
        with self.memory.lock:
            self.requests.append(request)
            if request.changes and self.refused.get(request.path):
                status, message = self.refused[request.path].pop(0)
                return _error(status, message)
            return self._answer(request)

    def _answer(self, request: Request) -> tuple[int, Any]:  # noqa: PLR0911 (a table)
        path, _, verb = request.path.replace("projects/-/", f"projects/{PROJECT}/").partition(":")
        if path.split("/")[0] == "b" or path.endswith("/serviceAccount"):
            return self._storage(request)
        if verb:
            return self._verb(request, path, verb)
        if "operations" in path.split("/"):
            return 200, _DONE
        if request.method == "POST" and path.endswith("/builds"):
            build = {**request.body, "id": "1", "projectId": PROJECT, "status": "QUEUED"}
            return 200, {"name": "operations/build/1", "metadata": {"@type": _BUILD, "build": build}}
        if path == f"projects/{PROJECT}/locations" or path.endswith("/locations/-/functions"):
            return self._everywhere(path)
        if path.endswith("/runtimes"):
            return 200, {"runtimes": [{"name": "python313", "environment": "GEN_2", "stage": "GA"}]}
        if path.endswith("/services"):
            return 200, {
                "services": [
                    {"name": f"projects/{NUMBER}/services/{one}", "config": {"name": one}}
                    for one in sorted(self.enabled)
                ]
            }
        if re.fullmatch(r"projects/[^/]+", path):
            return self._project(path)
        return self._resource(request, path)

    def _everywhere(self, path: str) -> tuple[int, Any]:
        """Answer a request about all regions.

        It may come before anything is enabled.
        """
        if FUNCTIONS_API not in self.enabled:
            return _error(403, f"Cloud Functions API has not been used in project {PROJECT} before or it is disabled.")
        if path.endswith("/functions"):
            return 200, {"functions": self.memory.children(path)}
        return 200, {"locations": [{"name": f"{path}/{one}", "locationId": one} for one in REGIONS]}

    def _project(self, path: str) -> tuple[int, Any]:
        name = path.partition("/")[2]
        if name not in {PROJECT, NUMBER}:
            return _error(403, f"The caller does not have permission on project {name}")
        return 200, {"projectId": PROJECT, "projectNumber": NUMBER, "name": PROJECT, "lifecycleState": "ACTIVE"}

    def _verb(self, request: Request, path: str, verb: str) -> tuple[int, Any]:  # noqa: PLR0911 (a table)
        match verb:
            case "getIamPolicy":
                return 200, self.memory.policy(path)
            case "setIamPolicy":
                self.memory.policies[path] = {"etag": "BwX=", **request.body["policy"]}
                return 200, self.memory.policies[path]
            case "generateUploadUrl":
                source = {"bucket": "uploads", "object": f"{next(self._ids)}.zip"}
                return 200, {"uploadUrl": f"{self.url}/v1/put/{source['object']}", "storageSource": source}
            case "batchEnable":
                self.enabled.update(request.body["serviceIds"])
                return 200, _DONE
            case "generateServiceIdentity":
                return 200, {**_DONE, "response": {"email": f"service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"}}
            case "access" | "enable":
                return 200, {}
            case "addVersion":
                return 200, self.memory.put(
                    f"{path}/versions/{next(self._ids)}", {"state": "ENABLED", "clientSpecifiedPayloadChecksum": True}
                )
            case "resume":
                return 200, self.memory.patch(path, {"state": "ENABLED"}, "")
            case _:
                return _error(400, f"nothing here knows :{verb}")

    def _resource(self, request: Request, path: str) -> tuple[int, Any]:  # noqa: PLR0911 (a table)
        parts = path.split("/")
        is_collection = len(parts) % 2 == 1
        match request.method:
            case "GET" if is_collection:
                return 200, {_LISTED_AS.get(parts[-1], parts[-1]): self.memory.children(path)}
            case "GET":
                found = self.memory.get(path)
                return (200, found) if found is not None else _error(404, f"{path} was not found")
            case "DELETE":
                return (200, self._done(path, {})) if self.memory.delete(path) else _error(404, f"{path} was not found")
            case "PUT" if parts[0] == "put":
                return 200, {}
            case "PUT":
                return 200, self.memory.put(path, request.body)
            case "PATCH":
                return self._patch(request, path)
            case "POST" if is_collection:
                return self._create(request, path)
            case _:
                return _error(400, f"nothing here answers {request.method} {path}")

    def _create(self, request: Request, collection: str) -> tuple[int, Any]:
        body = dict(request.body or {})
        kind = collection.rpartition("/")[2]
        given = next((value for name, value in request.query.items() if name.lower().endswith("id")), "")
        name = (
            given or body.pop("accountId", "") or str(body.get("name", "")).rpartition("/")[2] or str(next(self._ids))
        )
        path = f"{collection}/{name}"
        if kind == "serviceAccounts":
            email = f"{name}@{PROJECT}.iam.gserviceaccount.com"
            path, body = f"{collection}/{email}", {**body.get("serviceAccount", {}), "email": email}
        if kind == "roles":
            path, body = f"{collection}/{body['roleId']}", body["role"]
        if self.memory.get(path) is not None:
            return _error(409, f"{path} exists already")
        made = self.memory.put(path, {**body, **_made(kind), "name": path})
        if kind == "functions":
            made["serviceConfig"] = {
                **made["serviceConfig"],
                "uri": f"https://{name}-abc-uc.a.run.app",
                "service": path.replace("/functions/", "/services/"),
            }
        return 200, self._done(path, made)

    def _patch(self, request: Request, path: str) -> tuple[int, Any]:
        body = dict(request.body or {})
        mask = request.query.get("updateMask") or body.pop("updateMask", "")
        content = next((body[name] for name in ("subscription", "topic") if isinstance(body.get(name), dict)), body)
        if "/fields/" in path and self.memory.get(path) is None:
            self.memory.put(path, {})
        if "ttlConfig" in content:
            content = {"ttlConfig": {"state": "CREATING"}}
        if "indexConfig" in content:
            content = {"indexConfig": {"indexes": content["indexConfig"].get("indexes", [])}}
        found = self.memory.patch(path, content, mask)
        return (200, self._done(path, found)) if found is not None else _error(404, f"{path} was not found")

    def _done(self, path: str, answer: Json) -> Json:
        parent, _, _ = path.rpartition("/")
        if parent.rpartition("/")[2] in _ANSWERED_AT_ONCE:
            return answer
        if "/collectionGroups/" in path:
            return {"name": f"{path.partition('/collectionGroups/')[0]}/operations/1", **_METADATA}
        place = path if parent.endswith("/databases") else parent.rpartition("/")[0]
        return {**_DONE, "name": f"{place}/operations/1", "response": {"@type": "type.googleapis.com/x", **answer}}

    def _storage(self, request: Request) -> tuple[int, Any]:  # noqa: C901, PLR0911, PLR0912 (a table)
        parts = request.path.split("/")
        match request.method, parts:
            case "POST", ["b"]:
                return 200, self.memory.put(f"b/{request.body['name']}", request.body)
            case "GET", ["b", name]:
                found = self.memory.get(f"b/{name}")
                return (200, found) if found is not None else _error(404, "The specified bucket does not exist.")
            case "PATCH", ["b", name]:
                found = self.memory.patch(f"b/{name}", request.body, "")
                return (200, found) if found is not None else _error(404, "The specified bucket does not exist.")
            case "DELETE", ["b", name]:
                return (204, None) if self.memory.delete(f"b/{name}") else _error(404, "no such bucket")
            case "GET", ["b", name, "iam"]:
                return 200, self.memory.policy(f"b/{name}")
            case "PUT", ["b", name, "iam"]:
                self.memory.policies[f"b/{name}"] = request.body
                return 200, request.body
            case "POST", ["b", name, "notificationConfigs"]:
                number = str(next(self._ids))
                topic = f"//pubsub.googleapis.com/{request.body['topic']}"
                made = {**request.body, "id": number, "topic": topic}
                return 200, self.memory.put(f"b/{name}/notificationConfigs/{number}", made)
            case "GET", ["b", name, "notificationConfigs"]:
                return 200, {"items": self.memory.children(request.path)}
            case "GET", ["b", _, "notificationConfigs", _]:
                return 200, self.memory.get(request.path)
            case "DELETE", ["b", _, "notificationConfigs", _]:
                return (204, None) if self.memory.delete(request.path) else _error(404, "no such notification")
            case "GET", ["b", name, "storageLayout"]:
                return 200, {"bucket": name, "location": "US-CENTRAL1", "locationType": "region"}
            case "GET", ["b", _, "o" | "managedFolders"]:
                return 200, {"items": []}
            case "GET", ["projects", _, "serviceAccount"]:
                return 200, {"email_address": f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"}
            case _:
                return _error(400, f"no storage answers {request.method} {request.path}")


def _made(kind: str) -> Json:
    """Return what a service adds to what it was sent."""
    match kind:
        case "functions":
            return {"state": "ACTIVE", "environment": "GEN_2"}
        case "jobs":
            return {"state": "ENABLED"}
        case _:
            return {}


def _error(status: int, message: str) -> tuple[int, Any]:
    names = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS", 400: "INVALID_ARGUMENT"}
    return status, {"error": {"code": status, "message": message, "status": names.get(status, "FAILED_PRECONDITION")}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        path = unquote(_VERSION.sub("", parts.path))
        body = json.loads(raw) if raw and "json" in self.headers.get("Content-Type", "") else raw.decode("latin-1")
        status, answer = self.cloud.answer(Request(method=self.command, path=path, query=query, body=body))
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        # The forks of one gcloud would share a connection that it left open.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 (names that http.server looks for)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name that http.server has)
        """Write nothing, as the requests are kept."""


@contextmanager
def running_cloud() -> Iterator[Cloud]:
    """Run the API on a free port while the block lasts."""
    cloud = Cloud()
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        cloud.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()
