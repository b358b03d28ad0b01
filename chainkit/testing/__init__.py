"""For tests: models that follow a script, suites that a model should pass, and a service that fails on request.

Each name is imported when it is first used, so that pytest starts no slower where this is installed and not used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainkit.testing.scripted import Script as Script
    from chainkit.testing.scripted import Scripted as Scripted
    from chainkit.testing.scripted import ScriptedChat as ScriptedChat
    from chainkit.testing.scripted import ScriptEnded as ScriptEnded
    from chainkit.testing.server.openai import OpenAIServer as OpenAIServer
    from chainkit.testing.suites.chat import ChatIntegrationTests as ChatIntegrationTests
    from chainkit.testing.suites.chat import ChatUnitTests as ChatUnitTests
    from chainkit.testing.suites.llm import LLMIntegrationTests as LLMIntegrationTests
    from chainkit.testing.suites.llm import LLMUnitTests as LLMUnitTests

_HOMES = {
    "ChatIntegrationTests": "chainkit.testing.suites.chat",
    "ChatUnitTests": "chainkit.testing.suites.chat",
    "LLMIntegrationTests": "chainkit.testing.suites.llm",
    "LLMUnitTests": "chainkit.testing.suites.llm",
    "OpenAIServer": "chainkit.testing.server.openai",
    "Script": "chainkit.testing.scripted",
    "ScriptEnded": "chainkit.testing.scripted",
    "Scripted": "chainkit.testing.scripted",
    "ScriptedChat": "chainkit.testing.scripted",
}

__all__ = [
    "ChatIntegrationTests",
    "ChatUnitTests",
    "LLMIntegrationTests",
    "LLMUnitTests",
    "OpenAIServer",
    "Script",
    "ScriptEnded",
    "Scripted",
    "ScriptedChat",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainkit.testing' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
