"""A Hub on the loopback interface, small but spoken to by the unmodified clients: model repositories in memory.

`with serve() as hub:` gives its address (`hub.url`), its repositories (`hub.repos[id]["files"]`), the log of requests
(`hub.log`) and of commits (`hub.commits`). Tokens: `writer` may write, `reader` may read.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

ROLES = {"writer": "write", "reader": "read"}


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, dict] = {}
        self.blobs: dict[str, bytes] = {}
        self.log: list[str] = []
        self.commits: list[tuple[str, list[str]]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str = "", message: str = "") -> None:
        self.reply({"error": message or code}, status, {"X-Error-Code": code, "X-Error-Message": message or code})

    def handle_request(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.log.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        role = ROLES.get(token)
        if token and role is None:
            return self.fail(401, message="Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            if role is None:
                return self.fail(401, message="Invalid username or password.")
            access = {"displayName": "test", "role": role}
            return self.reply({"name": "user", "type": "user", "orgs": [], "auth": {"accessToken": access}})
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if path.startswith("/blobs/"):
            hub.blobs[path.removeprefix("/blobs/")] = body
            return self.reply({})
        if self.command == "POST" and role != "write":
            return self.fail(403, message="this token may not write")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repo_id = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
            exists = repo_id in hub.repos
            hub.repos.setdefault(repo_id, {"files": {}, "sha": "0" * 40})
            return self.reply({"url": f"{hub.url}/{repo_id}"}, 409 if exists else 200)
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, path):
                repo = hub.repos.get(match["id"])
                if repo is None:
                    return self.fail(404, "RepoNotFound", "Repository not found")
                return answer(self, match, repo, body)
        return self.fail(404, message=f"no route for {path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815 (names that http.server looks for)

    def preupload(self, match: re.Match, repo: dict, body: bytes) -> None:
        files = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if file["path"].endswith((".safetensors", ".png", ".skops")) else "regular"
            known = repo["files"].get(file["path"])
            oid = known and (hashlib.sha256(known).hexdigest() if mode == "lfs" else git_oid(known))
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply({"files": files})

    def batch(self, match: re.Match, repo: dict, body: bytes) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            if item["oid"] not in self.server.blobs:
                item["actions"] = {"upload": {"href": f"{self.server.url}/blobs/{item['oid']}", "header": {}}}
            objects.append(item)
        self.reply({"transfer": "basic", "objects": objects})

    def commit(self, match: re.Match, repo: dict, body: bytes) -> None:
        changed = []
        for line in filter(None, body.decode().splitlines()):
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                repo["files"][value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repo["files"][value["path"]] = self.server.blobs[value["oid"]]
            elif item["key"] == "deletedFile":
                del repo["files"][value["path"]]
            if item["key"] != "header":
                changed.append(value["path"])
        repo["sha"] = hashlib.sha1(body).hexdigest()
        self.server.commits.append((match["id"], changed))
        self.reply({"commitUrl": f"{self.server.url}/{match['id']}/commit/{repo['sha']}", "commitOid": repo["sha"]})

    def info(self, match: re.Match, repo: dict, body: bytes) -> None:
        siblings = [{"rfilename": path} for path in sorted(repo["files"])]
        self.reply({"id": match["id"], "sha": repo["sha"], "private": False, "tags": [], "siblings": siblings,
                    "pipeline_tag": "text-classification", "lastModified": "2026-01-01T00:00:00.000Z"})  # fmt: skip

    def tree(self, match: re.Match, repo: dict, body: bytes) -> None:
        self.reply(
            [{"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
             for path, content in sorted(repo["files"].items())]
        )  # fmt: skip

    def resolve(self, match: re.Match, repo: dict, body: bytes) -> None:
        content = repo["files"].get(match["path"])
        headers = {"X-Repo-Commit": repo["sha"]}
        if content is None:
            return self.reply(b"", 404, headers | {"X-Error-Code": "EntryNotFound"})
        return self.reply(content, 200, headers | {"ETag": f'"{git_oid(content)}"'})


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


REPO = r"(?P<id>[^/]+/[^/]+)"
ROUTES = (
    (rf"/api/models/{REPO}/preupload/[^/]+", Handler.preupload),
    (rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (rf"/api/models/{REPO}/commit/[^/]+", Handler.commit),
    (rf"/api/models/{REPO}/tree/[^/]+", Handler.tree),
    (rf"/api/models/{REPO}(/revision/[^/]+)?", Handler.info),
    (rf"/{REPO}/resolve/[^/]+/(?P<path>.+)", Handler.resolve),
)


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
