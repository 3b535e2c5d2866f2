"""A proxy before a real MLflow: it counts what is asked, and can lose an answer to what MLflow has carried out."""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Between:
    """What stands between a client and MLflow."""

    uri: str
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    losing: dict[str, int] = field(default_factory=dict)
    """How many answers to requests whose path ends like this become a 504."""

    def loses(self, path: str) -> bool:
        for end, left in self.losing.items():
            if path.endswith(end) and left:
                self.losing[end] = left - 1
                return True
        return False


@contextlib.contextmanager
def between(mlflow: str) -> Iterator[Between]:
    """Its address stands in `uri`."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def passed_on(self) -> None:
            state.asked.append(f"{self.command} {urlsplit(self.path).path}")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            behind = http.client.HTTPConnection(urlsplit(mlflow).netloc, timeout=60)
            behind.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name != "Host"})
            answer = behind.getresponse()
            content = answer.read()
            behind.close()
            lost = state.loses(urlsplit(self.path).path)
            self.send_response(504 if lost else answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("content-length", "0" if lost else str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if lost else content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = passed_on  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    state = Between(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
