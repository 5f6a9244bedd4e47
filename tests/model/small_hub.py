"""A Hugging Face hub on loopback that has one model, for the real client to download from."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(model: str, directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves `directory` as the hub's `model`; gives the address and the files asked for."""
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    fetched: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].removeprefix("/api/models").strip("/")
            name = path.rpartition("/")[2]
            if not path.startswith(model):
                return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            if "/resolve/" not in path:
                listed = [
                    {"type": "file", "path": name, "rfilename": name, "size": len(data), "oid": "0"}
                    for name, data in files.items()
                ]
                about = {"id": model, "sha": COMMIT, "siblings": listed}
                return self._send(200, json.dumps(listed if "/tree/" in path else about).encode())
            if name not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            if with_body:
                fetched.append(name)
            tag = hashlib.sha256(files[name]).hexdigest()[:40]
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
            return self._send(200, files[name], headers, with_body=with_body)

        def _send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            *,
            with_body: bool = True,
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
