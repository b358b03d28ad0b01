"""An agent of LangChain on a local model: it calls a tool, reads the result and answers.

pip install langchain
python examples/agents.py [MODEL]
"""

import sys
from collections.abc import Callable
from typing import Literal

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import HumanMessage

import chainkit


def stock(article: Literal["pumps", "valves"]) -> str:
    """How many pieces of an article are in the warehouse."""
    return {"pumps": "There are 17 pumps in the warehouse.", "valves": "There are no valves left."}[article]


@wrap_model_call
def call_first(request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse:
    """Demand a call after each question: a model of this size does not decide well whether it needs one."""
    asked = isinstance(request.messages[-1], HumanMessage)
    return handler(request.override(tool_choice="any" if asked else "none"))


name = sys.argv[1] if len(sys.argv) > 1 else "smollm2?temperature=0&max_tokens=60"
agent = create_agent(chainkit.chat_model(name), [stock], middleware=[call_first])
answer = agent.invoke({"messages": [HumanMessage("How many pumps are in the warehouse?")]}, {"recursion_limit": 10})
for message in answer["messages"]:
    calls = "".join(f" calls {call['name']}({call['args']})" for call in getattr(message, "tool_calls", ()))
    print(f"{message.type}:{calls} {message.text}")
