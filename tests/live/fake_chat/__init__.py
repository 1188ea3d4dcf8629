"""A chat platform made of two files: what is said to it stands in ``chat/sent.jsonl``, ``chat/inbox`` is read.

A directory plugin of the host, copied into a test's home by ``LiveHouse.open_chat``.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "chat"
ROOM = "c1"
PERSON = "u1"
LOOK_SECONDS = 0.2


def register(ctx: Any) -> None:
    from gateway.config import Platform
    from gateway.platforms.base import BasePlatformAdapter, MessageEvent, SendResult

    class FakeChat(BasePlatformAdapter):
        def __init__(self, config: Any) -> None:
            super().__init__(config, Platform("fakechat"))
            self._reading: asyncio.Task[None] | None = None

        async def connect(self, *, is_reconnect: bool = False) -> bool:
            FOLDER.mkdir(exist_ok=True)
            self._running = True
            self._reading = asyncio.create_task(self._read())
            return True

        async def disconnect(self) -> None:
            self._running = False
            if self._reading is not None:
                self._reading.cancel()

        async def _read(self) -> None:
            """Hand each new line of the inbox to the gateway as a message of one person."""
            inbox, seen = FOLDER / "inbox", 0
            while True:
                lines = inbox.read_text().splitlines() if inbox.exists() else []
                for line in lines[seen:]:
                    source = self.build_source(ROOM, chat_name=ROOM, chat_type="dm", user_id=PERSON, user_name=PERSON)
                    said = MessageEvent(text=line, source=source, message_id=str(time.time_ns()))
                    await self.handle_message(said)
                seen = len(lines)
                await asyncio.sleep(LOOK_SECONDS)

        async def send(self, chat_id: str, content: str, reply_to: Any = None, metadata: Any = None) -> Any:
            with (FOLDER / "sent.jsonl").open("a") as sent:
                sent.write(json.dumps({"chat": chat_id, "text": content}) + "\n")
            return SendResult(success=True, message_id=str(time.time_ns()))

        async def get_chat_info(self, chat_id: str) -> dict[str, str]:
            return {"name": chat_id, "type": "dm"}

    ctx.register_platform(
        "fakechat", "Fake chat", FakeChat, lambda: True,
        is_connected=lambda config: True, allow_all_env="FAKECHAT_ALLOW_ALL_USERS",
    )  # fmt: skip
