"""Differences between OpenAI-compatible services: data, no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Method = Literal["json_schema", "function_calling", "json_mode"]
Kind = Literal["chat", "responses", "text", "embeddings"]

CHAT: frozenset[Kind] = frozenset({"chat"})
NO_TEXT: frozenset[Kind] = frozenset({"chat", "embeddings"})
NO_EMBEDDINGS: frozenset[Kind] = frozenset({"chat", "text"})
ALL: frozenset[Kind] = frozenset({"chat", "text", "embeddings"})
RESPONSES: frozenset[Kind] = frozenset({"responses"})


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, described.

    Attributes:
        name: Its name in messages and in the option `service`.
        kinds: Known interfaces: chat, by Chat Completions and by Responses; the continuation of text;
            embeddings.
        keys: Under which name its key is stored; None if it needs none.
        variables: The environment variables of its key, the usual one first.
        base_url: Its address; empty if every user has another one.
        base_url_variable: The environment variable with which its users change the address.
        own_hosts: Hosts, beside that of `base_url`, that its key may be sent to; `*.` matches subdomains.
        max_tokens_field: Its name for the limit on new tokens.
        seed_field: Its name for the seed.
        demanded_choice: Its value of `tool_choice` that demands some tool call.
        names_choice: Whether a tool can be demanded by its name.
        methods: How it can be asked for an answer in the form of a schema, the best way first.
        strict_tools: Whether the description of a tool may say `strict`.
        one_system: Whether the chat templates of its models take a single system message; several at the beginning of a
            conversation are then sent as one.
        patterns: Whether it holds the texts of a schema to a `pattern`.
        lacks: Parameters that it refuses or ignores.
        thought_field: Under which name the thoughts of an assistant's message go back to it; empty if it takes none.
        thoughts_back: Which thoughts go back: "with_calls" only those of messages that call a tool, as long as no
            later message of the user follows them, "all" all.
        tells_usage: Whether a stream may be asked for its usage; others tell it unasked or not at all.
        any_model: What a model without a name is called, for a server that answers with the one that it has; empty
            where a name is needed.
        vectors_path: Where vectors are asked for, below `base_url`. With `{model}` in it the texts go as `inputs`, and
            the answer is the bare list of their vectors, as pipelines of Hugging Face have it.
        translator: The name under which langchain-core knows the shape of its replies.
    """

    name: str
    kinds: frozenset[Kind] = CHAT
    keys: str | None = None
    variables: tuple[str, ...] = ()
    base_url: str = ""
    base_url_variable: str = ""
    own_hosts: tuple[str, ...] = ()
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_field: str = "seed"
    demanded_choice: str = "required"
    names_choice: bool = True
    methods: tuple[Method, ...] = ("json_schema", "function_calling", "json_mode")
    strict_tools: bool = True
    one_system: bool = False
    patterns: bool = False
    lacks: frozenset[str] = field(default_factory=frozenset[str])
    thought_field: str = ""
    thoughts_back: Literal["with_calls", "all"] = "with_calls"
    tells_usage: bool = True
    any_model: str = ""
    vectors_path: str = "/embeddings"
    translator: str = "openai_compatible"


def _hosted(name: str, base_url: str, *variables: str, **particular: object) -> Service:
    return Service(name=name, keys=name, variables=variables, base_url=base_url, **particular)  # pyright: ignore[reportArgumentType]


def _own(name: str, base_url: str, **particular: object) -> Service:
    variable = f"{name.upper()}_BASE_URL"
    return Service(name=name, base_url=base_url, base_url_variable=variable, **particular)  # pyright: ignore[reportArgumentType]


OPENAI = _hosted(
    "openai",
    "https://api.openai.com/v1",
    "OPENAI_API_KEY",
    kinds=ALL | RESPONSES,
    base_url_variable="OPENAI_BASE_URL",
    own_hosts=("*.api.openai.com",),
    max_tokens_field="max_completion_tokens",
    patterns=True,
    translator="openai",
)

COMPATIBLE = Service(name="openai", kinds=ALL | RESPONSES, keys="openai", variables=OPENAI.variables)
"""Any other service used as `openai:name?base_url=...`."""

SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        OPENAI,
        _hosted(
            "ai21",
            "https://api.ai21.com/studio/v1",
            "AI21_API_KEY",
            methods=("function_calling", "json_mode"),
            lacks=frozenset(
                {"logprobs", "top_logprobs", "logit_bias", "user", "seed", "frequency_penalty", "presence_penalty"}
            ),
            tells_usage=False,
        ),
        Service(
            name="azure_openai",
            kinds=NO_TEXT | RESPONSES,
            keys="azure_openai",
            variables=("AZURE_OPENAI_API_KEY",),
            base_url_variable="AZURE_OPENAI_BASE_URL",
            own_hosts=("*.openai.azure.com", "*.services.ai.azure.com"),
            max_tokens_field="max_completion_tokens",
            patterns=True,
            translator="openai",
        ),
        _hosted(
            "cerebras",
            "https://api.cerebras.ai/v1",
            "CEREBRAS_API_KEY",
            kinds=NO_EMBEDDINGS,
            max_tokens_field="max_completion_tokens",
        ),
        _hosted(
            "deepseek",
            "https://api.deepseek.com/v1",
            "DEEPSEEK_API_KEY",
            methods=("function_calling", "json_mode"),
            thought_field="reasoning_content",
        ),
        _hosted("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", kinds=ALL | RESPONSES),
        _hosted(
            "groq",
            "https://api.groq.com/openai/v1",
            "GROQ_API_KEY",
            kinds=CHAT | RESPONSES,
            max_tokens_field="max_completion_tokens",
            lacks=frozenset({"n", "logprobs", "top_logprobs", "logit_bias"}),
        ),
        Service(
            name="huggingface_router",
            kinds=ALL | RESPONSES,
            keys="huggingface",
            variables=("HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HUGGINGFACE_API_KEY"),
            base_url="https://router.huggingface.co/v1",
            one_system=True,
            vectors_path="/../hf-inference/models/{model}/pipeline/feature-extraction",
        ),
        _own("llamacpp", "http://localhost:8080/v1", kinds=ALL | RESPONSES, one_system=True, any_model="default"),
        _own("lmstudio", "http://localhost:1234/v1", kinds=ALL | RESPONSES, one_system=True),
        _hosted(
            "mistral",
            "https://api.mistral.ai/v1",
            "MISTRAL_API_KEY",
            kinds=NO_TEXT,
            seed_field="random_seed",
            demanded_choice="any",
            lacks=frozenset({"n", "logprobs", "top_logprobs", "logit_bias", "user"}),
            tells_usage=False,
        ),
        _hosted(
            "nvidia",
            "https://integrate.api.nvidia.com/v1",
            "NVIDIA_API_KEY",
            kinds=NO_TEXT,
            strict_tools=False,
            one_system=True,
        ),
        _own(
            "ollama",
            "http://localhost:11434/v1",
            kinds=ALL | RESPONSES,
            lacks=frozenset({"n", "logit_bias", "user"}),
            names_choice=False,
        ),
        _hosted(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            kinds=ALL | RESPONSES,
            thought_field="reasoning",
            thoughts_back="all",
        ),
        _hosted(
            "perplexity",
            "https://api.perplexity.ai",
            "PERPLEXITY_API_KEY",
            "PPLX_API_KEY",
            methods=("json_schema",),
            lacks=frozenset({"n", "seed", "logprobs", "top_logprobs", "logit_bias", "user", "tools"}),
            tells_usage=False,
        ),
        _hosted("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "TOGETHERAI_API_KEY", kinds=ALL),
        _own("vllm", "http://localhost:8000/v1", kinds=ALL | RESPONSES, one_system=True),
        _hosted("xai", "https://api.x.ai/v1", "XAI_API_KEY", kinds=CHAT | RESPONSES),
    )
}
"""The services whose habits are known, by name."""
