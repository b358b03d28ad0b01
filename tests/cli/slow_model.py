"""The command with one more provider, `slow`: a chat model that takes its time, for tests that interrupt it."""

from __future__ import annotations

import signal
import time
from typing import Any

from chainkit import registry
from chainkit.backends.fake import FakeChat, FakeEmbeddings
from chainkit.base.errors import ContextOverflow, StreamBroken
from chainkit.cli.main import main
from chainkit.cli.models import NEEDS

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background hands down that it is ignored


class SlowChat(FakeChat):
    """Waits between its words; fails where a question says so; tells how many messages it was sent."""

    def _stream(self, messages: Any, *arguments: Any, **settings: Any) -> Any:
        question = str(messages[-1].text)
        if question == "overflow":
            raise ContextOverflow(5000, 4096)
        if question == "count":
            messages = [messages[-1].model_copy(update={"content": f"{len(messages)} messages"})]
        for number, chunk in enumerate(super()._stream(messages, *arguments, **settings)):
            if question.startswith("slowly") and number:
                time.sleep(0.1)
            if question.startswith("break") and number == 2:
                raise StreamBroken("the line broke", provider="slow")
            yield chunk


class SlowEmbeddings(FakeEmbeddings):
    """Takes two seconds for each call."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        time.sleep(2)
        return super().embed_documents(texts)


if __name__ == "__main__":
    registry.CHAT_MODELS["slow"] = "__main__:SlowChat"  # type: ignore[index]
    NEEDS["slow"] = NEEDS["fake"]
    registry.EMBEDDINGS["slow"] = "__main__:SlowEmbeddings"  # type: ignore[index]
    main()
