"""For tests: models that follow a script, suites that a model should pass, and a server that fails on request.

Each name is imported when it is first used, so that pytest starts no slower where this is installed and not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.testing.scripted import Script as Script
    from chainkit.testing.scripted import Scripted as Scripted
    from chainkit.testing.scripted import ScriptedChat as ScriptedChat
    from chainkit.testing.scripted import ScriptEnded as ScriptEnded
    from chainkit.testing.server import faults as faults
    from chainkit.testing.server.features import FEATURES as FEATURES
    from chainkit.testing.server.openai import OpenAIServer as OpenAIServer
    from chainkit.testing.server.openai import running as running
    from chainkit.testing.suites.chat import ChatIntegrationTests as ChatIntegrationTests
    from chainkit.testing.suites.chat import ChatUnitTests as ChatUnitTests
    from chainkit.testing.suites.llm import LLMIntegrationTests as LLMIntegrationTests
    from chainkit.testing.suites.llm import LLMUnitTests as LLMUnitTests

_HOMES = {
    "FEATURES": "chainkit.testing.server.features",
    "ChatIntegrationTests": "chainkit.testing.suites.chat",
    "ChatUnitTests": "chainkit.testing.suites.chat",
    "LLMIntegrationTests": "chainkit.testing.suites.llm",
    "LLMUnitTests": "chainkit.testing.suites.llm",
    "OpenAIServer": "chainkit.testing.server.openai",
    "Script": "chainkit.testing.scripted",
    "ScriptEnded": "chainkit.testing.scripted",
    "Scripted": "chainkit.testing.scripted",
    "ScriptedChat": "chainkit.testing.scripted",
    "faults": "chainkit.testing.server.faults:",
    "running": "chainkit.testing.server.openai",
}

__all__ = [
    "FEATURES",
    "ChatIntegrationTests",
    "ChatUnitTests",
    "LLMIntegrationTests",
    "LLMUnitTests",
    "OpenAIServer",
    "Script",
    "ScriptEnded",
    "Scripted",
    "ScriptedChat",
    "faults",
    "running",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
