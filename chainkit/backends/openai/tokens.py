"""How many tokens a text is to OpenAI's models, counted with their own tokenizer and never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from chainkit.base.errors import MissingLibrary, ModelFileError, Unsupported

AROUND_MESSAGE = 3
AROUND_NAME = 1
BEFORE_ANSWER = 3
ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


def token_ids(text: str, model: str) -> list[int]:
    """The tokens of a text, special ones read as plain text.

    Raises:
        MissingLibrary: tiktoken is not installed.
        Unsupported: It does not know the tokenizer of this model.
        ModelFileError: The vocabulary is not on this machine and cannot be fetched.
    """
    return _encoding(model).encode_ordinary(text)


def message_tokens(messages: Sequence[BaseMessage], model: str) -> int:
    """The tokens of a chat request of plain text, by the rule that OpenAI gives for its chat models.

    Raises:
        Unsupported: A message holds what this rule does not cover, or the tokenizer is not known.
        MissingLibrary: tiktoken is not installed.
        ModelFileError: The vocabulary is not on this machine and cannot be fetched.
    """
    encoding, total = _encoding(model), BEFORE_ANSWER
    for message in messages:
        total += AROUND_MESSAGE + len(encoding.encode_ordinary(_role(message)))
        total += len(encoding.encode_ordinary(_plain(message)))
        if message.name:
            total += AROUND_NAME + len(encoding.encode_ordinary(message.name))
    return total


def _role(message: BaseMessage) -> str:
    kind = message.type.removesuffix("MessageChunk").lower()
    return getattr(message, "role", None) or ROLES.get(kind, kind)


def _plain(message: BaseMessage) -> str:
    """The text of a message that is nothing else."""
    blocks = [] if isinstance(message.content, str) else message.content
    kinds = {block.get("type") for block in blocks if isinstance(block, dict)} - {"text", "output_text", "input_text"}
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        kinds.add("tool_call")
    if kinds:
        names = ", ".join(sorted(map(str, kinds)))
        raise Unsupported(f"the tokens of {names} cannot be counted here; usage_metadata of an answer tells them")
    return message.text


def _encoding(model: str) -> Any:
    try:
        import tiktoken
    except ImportError as error:
        raise MissingLibrary("tiktoken", extra="tokens") from error
    import requests  # tiktoken fetches its vocabularies with it

    name = model.rpartition("/")[2]
    try:
        return tiktoken.encoding_for_model(name)
    except KeyError:
        problem = f"tiktoken {tiktoken.__version__} does not know the tokenizer of '{model}'"
        raise Unsupported(f"{problem}; usage_metadata of an answer tells its tokens") from None
    except (requests.RequestException, OSError) as error:
        raise ModelFileError(
            f"tiktoken's vocabulary for '{model}'",
            f"not on this machine, and it could not be fetched ({type(error).__name__}); fetch it once while online, "
            "with TIKTOKEN_CACHE_DIR set to a folder that stays, and set the same folder here",
        ) from error
