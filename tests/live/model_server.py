"""A model that plays a script: OpenAI-compatible chat completions on a loopback port, standard library only.

It plays a kanban worker: ``kanban_show``, ``kanban_heartbeat``, whatever the task asks for, ``kanban_complete``, a last
word. A task asks by directives in its body, ``NAME=value`` separated by blanks (the body comes back to the model as the
result of ``kanban_show``)::

    SLOW=<s>      hold the answer that would complete or block, seconds
    STREAM=1      while holding, send a chunk of reasoning every second
    PACE=<s>      hold every answer after the first, seconds
    BEATS=<n>     heartbeats before anything else; 1 unless told, 0 for none
    REPEAT=<n>    so many identical calls of the terminal, ``echo again``
    TERM=<cmd>    a terminal command before the end; ``+`` stands for a blank
    CALL=<tool>   a call of this tool before the end; ARGS=<url-quoted JSON> are its arguments
    BLOCK=<why>   end with ``kanban_block`` instead of ``kanban_complete``; ``+`` stands for a blank
    EXIT0=1       end with plain text, without completing or blocking
    ENDLESS=1     call the terminal for ever, each time with another command
    RATE=<s>      the ending call meets status 429 with ``Retry-After: <s>``, every time it is tried

A name with ``_FIRST`` behind it (``SLOW_FIRST=600``) holds for the first attempt of the task only, one with ``_FIRST3``
for the first three. Which turn it is, is read from the transcript; only the attempts are counted here.
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

MODEL = "scripted"
_TASK = re.compile(r"\bt_[0-9a-f]{6,}\b")
_DIRECTIVE = re.compile(r"\b([A-Z][A-Z0-9_]{2,})=([^\s\"\\]+)")
_FIRST = re.compile(r"_FIRST(\d*)$")
_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Answer(NamedTuple):
    """What the model says next: a tool call or plain text, after how long a wait."""

    tool: str | None
    arguments: dict[str, Any]
    text: str = ""
    hold: float = 0.0
    chunks: bool = False
    refused_for: str | None = None


class Conversation:
    """What one request tells about its session."""

    def __init__(self, body: dict[str, Any]) -> None:
        messages = body.get("messages", [])
        users = [number for number, message in enumerate(messages) if message["role"] == "user"]
        since = messages[users[-1] + 1 :] if users else []
        found = _TASK.search(_text(messages[users[0]])) if users else None
        self.tools = [tool["function"]["name"] for tool in body.get("tools") or []]
        self.task = found.group() if found else None
        self.turn = sum(len(message.get("tool_calls") or []) for message in since if message["role"] == "assistant")
        self.judged = _verdict(messages)
        self.results = [_text(message) for message in since if message["role"] == "tool"]

    @property
    def works(self) -> bool:
        """Whether a worker asks; a request for a session's title repeats the words but has no tools."""
        return self.task is not None and any(tool.startswith("kanban_") for tool in self.tools)

    def directives(self, attempt: int) -> dict[str, str]:
        """Return what the task asks for in an attempt."""
        asked: dict[str, str] = {}
        for name, value in _DIRECTIVE.findall(" ".join(self.results)):
            early = _FIRST.search(name)
            if early is None:
                asked.setdefault(name, value)
            elif attempt <= int(early[1] or 1):
                asked[_FIRST.sub("", name)] = value
        return asked


def decide(talk: Conversation, attempt: int) -> Answer:
    """Return the next answer: a pure function of the transcript and the number of the attempt."""
    if talk.judged is not None:
        return Answer(None, {}, json.dumps({"verdict": talk.judged, "reason": "so it is"}))
    if not talk.works:
        return Answer(None, {}, "A short title")
    if talk.turn == 0:
        return Answer("kanban_show", {})
    asked = talk.directives(attempt)
    steps = _script(asked, attempt)
    if "ENDLESS" in asked and talk.turn >= len(steps) - 1:
        return _slowed(Answer("terminal", {"command": f"echo {talk.turn}"}), asked)
    if talk.turn > len(steps):
        return Answer(None, {}, "All is said.")
    answer = _slowed(steps[talk.turn - 1], asked)
    if talk.turn < len(steps):
        return answer
    hold = float(asked.get("SLOW", answer.hold))
    return answer._replace(hold=hold, chunks="STREAM" in asked, refused_for=asked.get("RATE"))


def _script(asked: dict[str, str], attempt: int) -> list[Answer]:
    """Return every answer after ``kanban_show``; the last one ends the task."""
    steps = [Answer("kanban_heartbeat", {"note": f"beat {number + 1}"}) for number in range(int(asked.get("BEATS", 1)))]
    steps += [Answer("terminal", {"command": "echo again"})] * int(asked.get("REPEAT", 0))
    if "CALL" in asked:
        steps.append(Answer(asked["CALL"], json.loads(unquote(asked.get("ARGS", "{}")))))
    if "TERM" in asked:
        steps.append(Answer("terminal", {"command": asked["TERM"].replace("+", " ")}))
    if "EXIT0" in asked:
        return [*steps, Answer(None, {}, "I leave it at that.")]
    if "BLOCK" in asked:
        return [*steps, Answer("kanban_block", {"reason": asked["BLOCK"].replace("+", " ")})]
    return [*steps, Answer("kanban_complete", {"summary": f"done in attempt {attempt}"})]


def _verdict(messages: list[dict[str, Any]]) -> str | None:
    """Return what the judge of goals has to say, or None when it is not asked: a goal is reached by completing."""
    if not messages or "strict judge" not in _text(messages[0]):
        return None
    return "done" if "done in attempt" in _text(messages[-1]) else "continue"


def _slowed(answer: Answer, asked: dict[str, str]) -> Answer:
    return answer._replace(hold=float(asked.get("PACE", 0)))


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


class ModelServer:
    """The server, in threads of this process. Use it in a ``with`` statement.

    ``log`` has one entry per request, oldest first: ``at`` (epoch seconds), ``path``, and for chat completions ``task``
    (the task it is about, or None), ``works`` (a worker's turn, not a title), ``attempt``, ``turn``, ``tools`` (names
    that were offered), ``said`` (tool called, or None), ``result`` (the last tool result that the model was shown).
    """

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._held: Counter[str | None] = Counter()
        self._http = _Listener(("127.0.0.1", 0), _Requests)
        self._http.model = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL for ``model.base_url``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def requests(self, task: str | None = None) -> list[dict[str, Any]]:
        """Return the chat completions that were asked for, of one task or of all; titles of sessions count too."""
        with self._lock:
            asked = [entry for entry in self.log if "works" in entry]
        return [entry for entry in asked if task is None or entry["task"] == task]

    def attempts(self, task: str) -> int:
        """Return how many workers began to talk about a task."""
        return self._attempts[task]

    def holds(self, task: str) -> bool:
        """Say whether an answer about a task is being held back right now: its worker waits inside the model call."""
        return self._held[task] > 0

    def note(self, **entry: Any) -> None:
        """Write a request down."""
        with self._lock:
            self.log.append({"at": round(time.time(), 3), **entry})

    def answer(self, body: dict[str, Any]) -> tuple[Conversation, Answer]:
        """Decide what to say to one request, and write it down."""
        talk = Conversation(body)
        with self._lock:
            if talk.works and talk.turn == 0:
                self._attempts[str(talk.task)] += 1
        attempt = self._attempts[str(talk.task)]
        said = decide(talk, attempt)
        self.note(
            path="/chat/completions", task=talk.task, works=talk.works, attempt=attempt, turn=talk.turn,
            tools=talk.tools, said=said.tool, result=talk.results[-1] if talk.results else None,
        )  # fmt: skip
        return talk, said

    def hold(self, task: str | None, seconds: float, client: socket.socket) -> Iterator[None]:
        """Yield about once a second until the time is over, the server stops or the client has left."""
        end = time.monotonic() + seconds
        self._held[task] += 1
        try:
            while (left := end - time.monotonic()) > 0:
                if self.stopping.wait(min(1.0, left)) or _has_left(client):
                    raise ConnectionResetError
                yield
        finally:
            self._held[task] -= 1

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    model: ModelServer

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients of these tests are killed in mid-sentence."""


def _has_left(client: socket.socket) -> bool:
    readable = select.select([client], [], [], 0)[0]
    return bool(readable) and client.recv(1, socket.MSG_PEEK) == b""


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *_: Any) -> None:
        """Write nothing to the terminal."""

    def do_GET(self) -> None:
        self.server.model.note(path=self.path)
        known = {"id": MODEL, "object": "model", "owned_by": "tests", "context_length": 131072}
        self._reply({"object": "list", "data": [known]} if self.path.rstrip("/").endswith("/models") else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if not self.path.rstrip("/").endswith("/chat/completions"):
            self.server.model.note(path=self.path)
            self._reply({}, 404)
            return
        talk, said = self.server.model.answer(body)
        try:
            self._speak(talk, said, streamed=bool(body.get("stream")))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _speak(self, talk: Conversation, said: Answer, *, streamed: bool) -> None:
        if said.refused_for is not None:
            problem = {"error": {"message": "rate limit reached", "type": "rate_limit_error", "code": 429}}
            self._reply(problem, 429, {"Retry-After": said.refused_for})
            return
        waiting = self.server.model.hold(talk.task, said.hold, self.connection)
        if streamed:
            self._stream(said, waiting)
            return
        for _ in waiting:
            pass
        self._reply(_whole(said))

    def _stream(self, said: Answer, waiting: Iterator[None]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self._chunk({"role": "assistant", "content": ""})
        for _ in waiting:
            if said.chunks:
                self._chunk({"reasoning_content": "."})
        self._chunk({"tool_calls": [{"index": 0, **_call(said)}]} if said.tool else {"content": said.text})
        self._chunk({}, "tool_calls" if said.tool else "stop", usage=_USAGE)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        event = {**_frame("chat.completion.chunk"), "choices": [choice], **more}
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _reply(self, answer: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _whole(said: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if said.tool else said.text}
    if said.tool:
        message["tool_calls"] = [_call(said)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if said.tool else "stop"}
    return {**_frame("chat.completion"), "choices": [choice], "usage": _USAGE}


def _call(said: Answer) -> dict[str, Any]:
    function = {"name": said.tool, "arguments": json.dumps(said.arguments)}
    return {"id": f"call_{time.time_ns():x}", "type": "function", "function": function}


def _frame(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{time.time_ns():x}", "object": kind, "created": int(time.time()), "model": MODEL}
