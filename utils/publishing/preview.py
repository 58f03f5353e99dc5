"""The demo of a finished run on this machine, before anything is published: the page that a Space gets, with its model.

    make demo MODEL=outputs/quickstart
    python -m utils.publishing.preview outputs/quickstart --port 8000

It answers on the loopback interface only, and serves nothing but the page, the run's published files and the packages
of `make node`.
"""

import argparse
import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from utils.command_line import plain_parser, run_folder
from utils.console import InputError, one_sentence_errors, say
from utils.run_folder import PUBLISHED, RunFolder

PACKAGES = Path(__file__).resolve().parents[2] / "node_modules"
MODEL = "local/model"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the files below `places`, (prefix of the address, folder, patterns of names)."""

    protocol_version = "HTTP/1.1"

    def __init__(self, places: list[tuple[str, Path, tuple[str, ...]]], *arguments: object):
        self.places = places
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the reader has left
            super().handle()

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        # A stranger's page whose name leads to this machine would ask under that name.
        path = self._find(unquote(urlsplit(self.path).path)) if host in ("127.0.0.1", "localhost") else None
        content = path.read_bytes() if path else b"There is no such file."
        self.send_response(200 if path else 404)
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path)[0] if path else "text/plain"
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def _find(self, address: str) -> Path | None:
        address = re.sub(r"^(/npm/(@[^/@]+/)?[^/@]+)@[^/]+", r"\1", address)  # npm's folder has no version in its name
        for prefix, folder, patterns in self.places:
            name = address.removeprefix(prefix)
            if name == address or not any(fnmatch(name or "index.html", pattern) for pattern in patterns):
                continue
            path = (folder / (name or "index.html")).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        return None


@contextmanager
def serve(run: RunFolder, port: int = 0, dtype: str = "q8") -> Iterator[ThreadingHTTPServer]:
    """A server of the demo of `run`, on a free port unless one is given; `serve_forever` is the caller's.

    Raises:
        InputError: transformers.js is not installed, the page cannot run such a run, or the port is taken.
    """
    from utils.publishing.space import CONFIG_FILE, PAGE_FILES, page_config, require_demo, write_page

    require_demo(run)
    if not (PACKAGES / "@huggingface" / "transformers").is_dir():
        raise InputError("transformers.js is not installed; `make node` does it.")
    with TemporaryDirectory() as folder:
        write_page(Path(folder), page_config(run, MODEL, "main", "/", "/npm/", dtype), hosts="")
        places = [
            (f"/{MODEL}/resolve/main/", run.path, PUBLISHED),
            ("/npm/@huggingface/transformers/dist/", PACKAGES / "@huggingface" / "transformers" / "dist", ("*.js",)),
            ("/npm/onnxruntime-web/dist/", PACKAGES / "onnxruntime-web" / "dist", ("*.mjs", "*.wasm")),
            ("/", Path(folder), (CONFIG_FILE, *PAGE_FILES)),
        ]
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, places))
        except OSError as error:
            raise InputError(f"--port {port} cannot be used ({error.strerror}); give another.") from error
        with server:
            yield server


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__ or "")
    parser.add_argument("run", type=run_folder, metavar="OUTPUT_DIR", help="the folder of a finished run")
    parser.add_argument("--port", type=int, default=8000, help="where it answers (default: 8000)")
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        raise InputError(f"--port is {args.port}; accepted: 0 (a free one) to 65535.")
    args.run.require_finished()
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    with serve(args.run, args.port) as server:
        say(f"The demo of {args.run}: http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


if __name__ == "__main__":
    with one_sentence_errors():
        main()
