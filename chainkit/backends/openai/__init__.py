"""Models of OpenAI and of every OpenAI-compatible service."""

from chainkit.backends.openai.chat import OpenAIChat as OpenAIChat
from chainkit.backends.openai.completion import OpenAIModel as OpenAIModel
from chainkit.backends.openai.embeddings import OpenAIEmbeddings as OpenAIEmbeddings
