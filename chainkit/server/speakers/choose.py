"""Which speaker an object is."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from chainkit.local.chat import LocalChat
from chainkit.server.speakers.call import Speaker
from chainkit.server.speakers.chains import ChainSpeaker
from chainkit.server.speakers.model import LocalSpeaker, ModelSpeaker


def speaker_of(served: Any) -> Speaker:
    """What answers chats for a chat model, a program, a chain, or a speaker itself.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(served, Speaker):
        return served
    if isinstance(served, LocalChat):
        return LocalSpeaker(served)
    if isinstance(served, BaseChatModel):
        return ModelSpeaker(served)
    from chainkit.programs.run.runnable import Program
    from chainkit.server.speakers.programs import ProgramSpeaker

    if isinstance(served, Program):
        return ProgramSpeaker(served)
    if isinstance(served, Runnable):
        return ChainSpeaker(served)
    raise TypeError(f"a model, program or chain answers chats, not {type(served).__name__}")
