"""Tools in words for models whose template knows none."""

import json

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from chainkit.local.template import ChatTemplate
from chainkit.local.tools import Toolbox, without_tools
from tests.backends.llama_cpp import tiny


def test_a_template_without_tools_is_told_in_words():
    toolbox = Toolbox(({"type": "function", "function": {"name": "add", "parameters": {}}},), "auto", native=False)
    call = {"name": "add", "args": {"a": 1}, "id": "7", "type": "tool_call"}
    talk = [
        SystemMessage("Be kind."),
        HumanMessage("x"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("3", tool_call_id="7"),
    ]
    plain = without_tools(talk, toolbox, ChatTemplate(tiny.CHATML))
    assert [message.type for message in plain] == ["system", "human", "ai", "human"]
    assert plain[0].content.startswith("Be kind.\n\nYou can call these tools:")
    assert json.loads(plain[2].content) == {"name": "add", "arguments": {"a": 1}}
    assert plain[3].content == "Result of the tool 7: 3"
    native = ChatTemplate("{{ tools }}{{ messages[0].tool_calls }}")
    assert without_tools(talk, toolbox, native) == talk
