"""A stand-in for the server of Weights & Biases, for its real client: it keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"
"""What passes for an API key."""


@dataclass
class StoredRun:
    """What the server knows of a run."""

    heading: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    begun: int = 0

    def bucket(self) -> dict[str, Any]:
        """As the client asks for it before it resumes a run."""
        return {
            "id": "bucket", "name": self.heading["name"], "displayName": self.heading["name"],
            "tags": [], "notes": None, "summaryMetrics": json.dumps(self.summary),
            "config": "{}", "wandbConfig": json.dumps({"t": 1}),
            "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]",
            "historyLineCount": len(self.history),
            "historyTail": json.dumps([json.dumps(line) for line in self.history[-1:]]),
        }  # fmt: skip


class WandbServer:
    """Answers W&B's client.

    Args:
        refusals: HTTP statuses with which the first requests are answered; the last one goes on for ever if it is
            negative.
    """

    def __init__(self, refusals: Iterable[int] = ()) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.requests: list[str] = []
        self._refusals = list(refusals)
        self.url = ""

    def environment(self) -> dict[str, str]:
        """What points the client here."""
        return {"WANDB_MODE": "online", "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    @contextmanager
    def running(self) -> Iterator[WandbServer]:
        """Serves on a free port."""
        handler = type("Handler", (_Handler,), {"owner": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def refusal(self) -> int | None:
        """Returns the status to refuse the next request with, None to serve it."""
        if not self._refusals:
            return None
        return -self._refusals[0] if self._refusals[0] < 0 else self._refusals.pop(0)

    def graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answers a query, by its name."""
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)
        project = {
            "id": "project",
            "name": given.get("project"),
            "entity": {"id": "entity", "name": given.get("entity")},
        }
        match name and name[1]:
            case "RunResumeStatus":
                run = self.runs.get(given["name"])
                return {"model": {**project, "bucket": run.bucket() if run else None}}
            case "UpsertBucket":
                is_new = given["name"] not in self.runs
                run = self.runs.setdefault(given["name"], StoredRun(given))
                run.begun += given.get("displayName") is not None
                bucket = {"id": "bucket", "name": given["name"], "displayName": given["name"], "sweepName": None}
                bucket |= {"historyLineCount": len(run.history), "project": project}
                return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}
            case "CreateRunFiles":
                files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in given["files"]]
                return {"createRunFiles": {"runID": "bucket", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, run: StoredRun, sent: dict[str, Any]) -> None:
        """Takes a part of a run's history and summary."""
        for file, chunk in sent.get("files", {}).items():
            lines = [json.loads(line) for line in chunk["content"]] if file.endswith((".jsonl", "summary.json")) else []
            if file == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = lines
            elif file == "wandb-summary.json" and lines:
                run.summary = lines[-1]
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")


class _Handler(BaseHTTPRequestHandler):
    owner: WandbServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.owner.requests.append(f"{self.path} {body.decode(errors='replace')}")
        status, reply = 200, {}
        if refused := self.owner.refusal():
            status, reply = refused, {"errors": [{"message": "refused"}]}
        elif self.path == "/graphql":
            sent = json.loads(body)
            reply = {"data": self.owner.graphql(sent["query"], sent.get("variables") or {})}
        elif stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.owner.stream(self.owner.runs[stream[1]], json.loads(body))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
