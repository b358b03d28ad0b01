"""A hosted model: an answer, a stream, a form, and what happens when it fails.

Needs `pip install 'chainkit[openai]'` and a key in OPENAI_API_KEY, or the address of a service that asks for none in
OPENAI_BASE_URL.

    python examples/hosted.py [openai:gpt-4o-mini]
"""

from __future__ import annotations

import sys

from pydantic import BaseModel

import chainkit
from chainkit.errors import ChainkitError, StreamBroken


class City(BaseModel):
    """A city."""

    name: str
    country: str
    inhabitants: int


def main(spec: str = "openai:gpt-4o-mini") -> None:
    model = chainkit.chat_model(spec, max_retries=1, timeout=30)

    chain = chainkit.prompt("In one sentence, what is {topic}?") | model
    answer = chain.invoke({"topic": "a chain"})
    print(answer.text)
    print(answer.usage_metadata)

    try:
        for chunk in model.stream("Count to five."):
            print(chunk.text, end="", flush=True)
        print()
    except StreamBroken as error:
        print(f"\nThe stream broke; this much had come: {error.partial}")

    print(repr(model.with_structured_output(City).invoke("The largest city in Japan")))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ChainkitError as error:
        sys.exit(str(error))
