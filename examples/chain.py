"""A chain: its prompts before any model is asked, its answer, and a model that steps in for another.

    python examples/chain.py openai:gpt-4o-mini gguf:./model.gguf

Without arguments it uses `fake:`, which repeats what it is told.
"""

import sys

from langchain_core.output_parsers import StrOutputParser

import chainkit

names = sys.argv[1:] or ["fake:first", "fake:second"]
models = [chainkit.chat_model(name) for name in names]
model = chainkit.fallback(*models) if len(models) > 1 else models[0]

chain = chainkit.chain(
    draft=chainkit.prompt("Write two lines about {topic}.") | model | StrOutputParser(),
    final=chainkit.prompt([("system", "You are an editor."), ("human", "Improve this: {draft}")]) | model,
)

print(chain.explain({"topic": "bees"}))
answer = chain.invoke({"topic": "bees"})["final"]
print("\n" + answer.text)
print("answered by", answer.response_metadata.get("answered_by", names[0]))
