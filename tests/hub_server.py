"""A Hub on the loopback interface, in memory, small but spoken to by the unmodified clients.

`with serve() as hub:` gives its address (`hub.url`), what its repositories hold (`hub.files("user/name")`), its commits
(`hub.commits`) and its log of requests (`hub.log`). Tokens are named for what they may do: see `TOKENS`. `hub.fail(…)`
makes requests fail or go unanswered, `hub.redirect(…)` sends them to another host, `hub.before(…)` lets something
happen in between, `hub.add_dataset(…)` puts a dataset there.

    python tests/hub_server.py        # to try a push out: prints what to export, and runs until Ctrl-C
"""

import base64
import hashlib
import json
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

SCOPE = [{"entity": {"type": "model", "name": "user/emotions"}, "permissions": ["repo.content.read", "repo.write"]}]
TOKENS = {  # token: what whoami says of it; they all belong to `user`, who is in `team`
    "writer": {"role": "write"},
    "reader": {"role": "read"},
    "narrow": {"role": "fineGrained", "fineGrained": {"global": [], "scoped": SCOPE}},
}
CUT = "cut"  # instead of a status: the connection ends in the middle of the request
SILENCE = "silence"  # the connection stays open, and nothing comes
STALL = "stall"  # a good beginning of an answer, and then nothing
LARGE = (".safetensors", ".png", ".skops", ".onnx", ".parquet")
PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
EXPOSED = "X-Repo-Commit,X-Error-Code,X-Error-Message,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag"
NEW_SPACE = {name: b"the Hub's example" for name in ("index.html", "style.css", "README.md")}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}


class Repo:
    def __init__(self, private: bool = False):
        self.private, self.tags = private, {}
        self.history: dict[str, dict[str, bytes]] = {"0" * 40: {}}
        self.branches = {"main": "0" * 40}

    def sha(self, revision: str) -> str | None:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return sha if sha in self.history else None

    def commit(self, branch: str, files: dict[str, bytes], deleted: tuple[str, ...] = ()) -> str:
        old = self.history[self.branches[branch]]
        new = {path: content for path, content in (old | files).items() if path not in deleted}
        sha = hashlib.sha1(repr((len(self.history), sorted(new))).encode()).hexdigest()
        self.history[sha], self.branches[branch] = new, sha
        return sha


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}  # by "models/user/name", "datasets/…" or "spaces/…"
        self.blobs: dict[str, bytes] = {}
        self.log: list[str] = []
        self.commits: list[tuple[str, list[str]]] = []
        self.authorized: list[str] = []  # requests that came with a token
        self.faults: list[dict] = []
        self.actions: list[tuple[str, Callable[[], object]]] = []
        self.lock = Lock()
        self.closing = Event()

    def files(self, repo_id: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        repo = self.repos[f"{kind}/{repo_id}"]
        return repo.history[repo.sha(revision)]

    def fail(
        self,
        request: str,
        status: int | str,
        times: int = 1_000,
        after: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer `times` requests that match the pattern (`METHOD path`) with `status`, after `after` good ones."""
        fault = {"request": request, "status": status, "times": times, "after": after, "headers": headers or {}}
        self.faults.append(fault)

    def redirect(self, request: str, url: str) -> None:
        """Send requests that match the pattern to the same path of another server."""
        self.fail(request, 307, headers={"Location": url})

    def before(self, request: str, action: Callable[[], object]) -> None:
        """Do something once, before the first request that matches the pattern is answered."""
        self.actions.append((request, action))

    def add_dataset(self, repo_id: str, files: dict[str, bytes], private: bool = False) -> None:
        self.repos[f"datasets/{repo_id}"] = repo = Repo(private)
        repo.commit("main", files)

    def act(self, request: str) -> None:
        with self.lock:
            due = [item for item in self.actions if re.search(item[0], request)]
            self.actions = [item for item in self.actions if item not in due]
            for _, action in due:
                action()

    def fault(self, request: str) -> dict | None:
        with self.lock:
            for fault in self.faults:
                if re.search(fault["request"], request) and fault["times"]:
                    if fault["after"]:
                        fault["after"] -= 1
                        continue
                    fault["times"] -= 1
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def reply(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body)), "Content-Type": kind} | (headers or {})).items():
            self.send_header(key, value)
        if origin := self.headers.get("Origin"):
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Expose-Headers", EXPOSED)
            self.send_header("Vary", "Origin")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message or code}
        self.reply({"error": message or code}, status, told | (headers or {}))

    def handle_request(self) -> None:
        hub, address = self.server, urlsplit(self.path)
        path, self.query = unquote(address.path), parse_qs(address.query)
        hub.log.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        if "Authorization" in self.headers:
            hub.authorized.append(hub.log[-1])
        hub.act(hub.log[-1])
        fault = hub.fault(hub.log[-1])
        status = fault and fault["status"]
        if status in (SILENCE, STALL):
            if status == STALL:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            hub.closing.wait(300)
            self.close_connection = True
            return
        if status == CUT:
            self.rfile.read(min(length, 1000))
            self.close_connection = True
            return self.connection.close()
        body = self.read_chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        if fault is not None:
            headers = dict(fault["headers"])
            if "Location" in headers:
                headers["Location"] += self.path
            return self.refuse(int(status), message="injected by the test", headers=headers)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.access = TOKENS.get(token)
        if token and self.access is None:
            return self.refuse(401, message="Invalid credentials in Authorization header")
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, match.groupdict(), body)
        return self.refuse(404, message=f"no route for {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 (names that http.server looks for)

    def read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def find(self, parts: dict, write: bool = False) -> tuple[Repo, str] | None:
        """The repository and the revision's hash, if there is such a thing and the token may see it; else the reply."""
        repo = self.server.repos.get(f"{parts['kind']}/{parts['id']}")
        if repo is None or (repo.private and self.access is None):
            return self.refuse(401 if self.access is None else 404, "RepoNotFound", "Repository not found")
        if write and (self.access is None or self.access["role"] == "read"):
            return self.refuse(403, message="this token may not write")
        sha = repo.sha(parts.get("revision") or "main")
        if sha is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {parts['revision']}")
        return repo, sha

    # --- accounts and repositories ---

    def whoami(self, parts: dict, body: bytes) -> None:
        if self.access is None:
            return self.refuse(401, message="Invalid username or password.")
        token = {"displayName": "test", **self.access}
        self.reply({"name": "user", "type": "user", "orgs": [{"name": "team"}], "auth": {"accessToken": token}})

    def validate_yaml(self, parts: dict, body: bytes) -> None:
        errors = metadata_errors(json.loads(body)["content"])
        answer = {"errors": [{"message": error} for error in errors], "warnings": []}
        self.reply(answer, 400 if errors else 200)

    def create(self, parts: dict, body: bytes) -> None:
        wanted = json.loads(body)
        repo_id = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
        if self.access is None or self.access["role"] == "read":
            return self.refuse(403, message="this token may not write")
        key = f"{wanted.get('type') or 'model'}s/{repo_id}"
        exists = key in self.server.repos
        repo = self.server.repos.setdefault(key, Repo(wanted.get("visibility") == "private"))
        if wanted.get("type") == "space" and not exists:
            if wanted.get("sdk") != "static":
                return self.refuse(400, message="a Space needs an sdk")
            repo.history["0" * 40] = dict(NEW_SPACE)
        self.reply({"url": f"{self.server.url}/{repo_id}"}, 409 if exists else 200)

    def create_ref(self, parts: dict, body: bytes) -> None:
        wanted = json.loads(body or b"{}")
        name = parts.get("branch") or wanted["tag"]
        source = wanted.get("startingPoint") if parts.get("branch") else parts["revision"]
        if found := self.find({**parts, "revision": source}, write=True):
            repo, sha = found
            refs = repo.branches if parts.get("branch") else repo.tags
            if name in refs:
                return self.refuse(409, message=f"Reference {name} exists already")
            refs[name] = sha
            self.reply({})

    # --- commits ---

    def preupload(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts, write=True):
            repo, sha = found
            files = []
            for file in json.loads(body)["files"]:
                known, large = repo.history[sha].get(file["path"]), file["path"].endswith(LARGE)
                oid = None if known is None else (hashlib.sha256(known).hexdigest() if large else git_oid(known))
                mode = "lfs" if large else "regular"
                files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self.reply({"files": files})

    def batch(self, parts: dict, body: bytes) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            if item["oid"] not in self.server.blobs:
                item["actions"] = {"upload": {"href": f"{self.server.url}/blobs/{item['oid']}", "header": {}}}
            objects.append(item)
        self.reply({"transfer": "basic", "objects": objects})

    def blob(self, parts: dict, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != parts["oid"]:
            return self.refuse(400, message="the content is not what its hash says")
        self.server.blobs[parts["oid"]] = body
        self.reply({})

    def commit(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts, write=True):
            files, deleted = {}, []
            for line in filter(None, body.decode().splitlines()):
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "header" and value.get("parentCommit") not in (None, found[1]):
                    return self.refuse(412, message="A commit has happened since. Please refresh and try again.")
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = self.server.blobs[value["oid"]]
                elif item["key"] == "deletedFile":
                    deleted.append(value["path"])
            sha = found[0].commit(parts["revision"], files, tuple(deleted))
            self.server.commits.append((parts["id"], [*files, *deleted]))
            address = f"{self.server.url}/{PREFIXES[parts['kind']]}{parts['id']}/commit/{sha}"
            self.reply({"commitUrl": address, "commitOid": sha})

    # --- reading ---

    def info(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts):
            repo, sha = found
            siblings = [{"rfilename": path} for path in sorted(repo.history[sha])]
            self.reply({"id": parts["id"], "sha": sha, "private": repo.private, "tags": [], "siblings": siblings,
                        "lastModified": "2026-01-01T00:00:00.000Z"})  # fmt: skip

    def refs(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts):
            listed = {
                kind: [
                    {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha} for name, sha in refs.items()
                ]
                for kind, folder, refs in (("branches", "heads", found[0].branches), ("tags", "tags", found[0].tags))
            }
            self.reply(listed | {"converts": []})

    def commits(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts):
            shas = list(found[0].history)
            self.reply([{"id": sha, "title": "commit", "message": "", "authors": [],
                         "date": "2026-01-01T00:00:00.000Z"}
                        for sha in reversed(shas[: shas.index(found[1]) + 1])])  # fmt: skip

    def tree(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts):
            repo, sha = found
            folder = f"{parts['path']}/" if parts.get("path") else ""
            deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
            entries = {}
            for path, content in sorted(repo.history[sha].items()):
                if path.startswith(folder):
                    inner = path.removeprefix(folder).split("/")
                    if len(inner) > 1:
                        name = folder + inner[0]
                        entries[name] = {"type": "directory", "path": name, "size": 0, "oid": git_oid(name.encode())}
                    if len(inner) == 1 or deep:
                        entries[path] = file_entry(path, content)
            if folder and not entries:
                return self.refuse(404, "EntryNotFound", f"{folder} does not exist", {"X-Repo-Commit": sha})
            self.reply(list(entries.values()))

    def paths_info(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts):
            files = found[0].history[found[1]]
            kind = self.headers.get("Content-Type", "")
            wanted = json.loads(body)["paths"] if "json" in kind else parse_qs(body.decode()).get("paths", [])
            self.reply([file_entry(path, files[path]) for path in wanted if path in files])

    def resolve(self, parts: dict, body: bytes) -> None:
        if found := self.find(parts | {"kind": (parts["prefix"] or "models/")[:-1]}):
            repo, sha = found
            content = repo.history[sha].get(parts["path"])
            headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
            if content is None:
                return self.refuse(404, "EntryNotFound", "Entry not found", headers)
            headers["ETag"] = f'"{git_oid(content)}"'
            if parts["path"].endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                return self.reply(content[first : last + 1], 206, headers)
            self.reply(content, 200, headers)

    def page(self, parts: dict, body: bytes) -> None:
        """A file of a static Space, which the real Hub serves from a host of its own."""
        if found := self.find(parts | {"kind": "spaces"}):
            path = parts["path"] or "index.html"
            content = found[0].history[found[1]].get(path)
            if content is None:
                return self.refuse(404, "EntryNotFound", "Entry not found")
            self.reply(content, headers={"Content-Type": KINDS.get(path.split(".")[-1], "text/plain")})


def metadata_errors(card: str) -> list[str]:
    """What is wrong with a card's YAML block: a small part of what the Hub itself looks at."""
    block = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    try:
        metadata = yaml.safe_load(block[1]) if block else {}
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    wrong = []
    texts = ("license", "library_name", "pipeline_tag", "title", "emoji")
    wrong += [f'"{key}" must be a string' for key in texts if not isinstance(metadata.get(key, ""), str)]
    for key in ("base_model", "datasets"):
        value = metadata.get(key) or []
        ids = value if isinstance(value, list) else [value]
        wrong += [f'"{key}" must be an id' for item in ids if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(item))]
    if "sdk" in metadata:
        colours = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
        wrong += [
            f'"{key}" must be one of {colours}' for key in ("colorFrom", "colorTo") if metadata[key] not in colours
        ]
        if len(metadata.get("short_description", "")) > 60:
            wrong.append('"short_description" must have at most 60 characters')
    for model in metadata.get("model-index", []):
        for result in model["results"]:
            wrong += [f'"{key}" is missing' for key in ("task", "dataset", "metrics") if key not in result]
            wrong += ["a metric needs a type and a value" for m in result["metrics"] if not {"type", "value"} <= set(m)]
    return wrong


def file_entry(path: str, content: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if path.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


API = r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
REVISION = r"/(?P<revision>[^/]+)"
ROUTES = [
    (re.compile(pattern), answer)
    for pattern, answer in (
        (r"GET /api/whoami-v2", Handler.whoami),
        (r"POST /api/validate-yaml", Handler.validate_yaml),
        (r"POST /api/repos/create", Handler.create),
        (rf"POST {API}/branch/(?P<branch>[^/]+)", Handler.create_ref),
        (rf"POST {API}/tag{REVISION}", Handler.create_ref),
        (rf"POST {API}/preupload{REVISION}", Handler.preupload),
        (r"POST /.+\.git/info/lfs/objects/batch", Handler.batch),
        (r"PUT /blobs/(?P<oid>\w+)", Handler.blob),
        (rf"POST {API}/commit{REVISION}", Handler.commit),
        (rf"GET {API}(/revision{REVISION})?", Handler.info),
        (rf"GET {API}/refs", Handler.refs),
        (rf"GET {API}/commits{REVISION}", Handler.commits),
        (rf"GET {API}/tree{REVISION}(/(?P<path>.+))?", Handler.tree),
        (rf"POST {API}/paths-info{REVISION}", Handler.paths_info),
        (r"GET /static/(?P<id>[^/]+/[^/]+)/(?P<path>.*)", Handler.page),
        (
            rf"(GET|HEAD) /(?P<prefix>datasets/|spaces/)?(?P<id>[^/]+/[^/]+)/resolve{REVISION}/(?P<path>.+)",
            Handler.resolve,
        ),
    )
]


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()


if __name__ == "__main__":
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_args()
    with serve() as running:
        print(f"export HF_ENDPOINT={running.url} HF_TOKEN=writer HF_HUB_DISABLE_XET=1", flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()
