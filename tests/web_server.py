"""The page as its users have it: `burst-denoise web` in a process of its own, asked over HTTP."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

START_S, WORK_S = 120.0, 180.0


@dataclass(frozen=True)
class Server:
    """A page that is being served."""

    port: int
    temporary: Path
    """All that it and its processes may write to."""
    process: psutil.Process

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WORK_S)

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer."""
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str, method: str = "GET", body: bytes | None = None, status: int = 200) -> Any:
        """Return what is answered, which must have a status."""
        found, _, content = self.ask(path, method, body)
        assert found == status, content
        return json.loads(content)

    def begin(self) -> str:
        """Begin a visit and return its address."""
        return f"/visits/{self.json('/visits', 'POST')['key']}"

    def give(self, visit: str, *files: tuple[str, bytes]) -> None:
        """Hand files over to a visit."""
        for name, content in files:
            self.json(f"{visit}/files?name={quote(name)}", "PUT", content)

    def work(self, visit: str, query: str = "") -> dict[str, Any]:
        """Have the files of a visit worked on and return where it stands in the end."""
        self.json(f"{visit}/work{query}", "POST")
        return self.ended(visit)

    def ended(self, visit: str, what: str = "job") -> dict[str, Any]:
        """Return where a visit stands once its work has ended."""
        until = time.monotonic() + WORK_S
        while time.monotonic() < until:
            state: dict[str, Any] = self.json(visit)
            if state[what]["state"] not in ("waiting", "running"):
                return state
            time.sleep(0.1)
        raise AssertionError(f"not ended after {WORK_S} s: {state}")

    def taken(self, visit: str, query: str) -> tuple[dict[str, str], bytes]:
        """Return a result written to a file: the headers of the download, and its content."""
        self.json(f"{visit}/exports/{query}", "POST")
        assert self.ended(visit, "export")["export"]["state"] == "done"
        status, headers, content = self.ask(f"{visit}/download")
        assert status == 200
        return headers, content

    def visits_on_disk(self) -> list[Path]:
        """Return the folders of visits, while others of them may go."""
        walk = os.walk(self.temporary)
        return [Path(place, name) for place, names, _ in walk for name in names if name.startswith("visit-")]

    def memory_bytes(self) -> int:
        """Return what the server and the processes below it have in memory."""
        found = [self.process, *self.process.children(recursive=True)]
        total = 0
        for one in found:
            try:
                total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total


@contextmanager
def serving(temporary: Path, *options: object) -> Iterator[Server]:
    """Serve the page, with a temporary folder of its own, of which nothing may be left in the end."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "burst_denoise", "web", "--port", "0", *map(str, options)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/: open it in any browser", line)
        assert found, process.communicate()
        yield Server(int(found[1]), temporary, psutil.Process(process.pid))
    finally:
        process.terminate()
        _, told = process.communicate(timeout=30)
    assert "Traceback" not in told
    assert [str(path.relative_to(temporary)) for path in temporary.rglob("*")] == []


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
