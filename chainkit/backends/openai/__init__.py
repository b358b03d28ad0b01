"""Models behind OpenAI's API: OpenAI's own, and those of every service that speaks it."""

from chainkit.backends.openai.chat import OpenAIChat as OpenAIChat
from chainkit.backends.openai.completion import OpenAIModel as OpenAIModel
from chainkit.backends.openai.embeddings import OpenAIEmbeddings as OpenAIEmbeddings
