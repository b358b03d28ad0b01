"""Providers whose clients others keep, as LangChain partner packages: data, and one way to make them."""

from __future__ import annotations

from functools import partial

from chainkit.backends.partners.partner import Partner as Partner

_BEDROCK = partial(
    Partner,
    provider="bedrock",
    package="langchain_aws",
    extra="bedrock",
    loggers=("boto3", "botocore", "urllib3"),
    key_option="",
)
_COHERE = partial(
    Partner,
    provider="cohere",
    package="langchain_cohere",
    extra="cohere",
    loggers=("cohere",),
    key_option="cohere_api_key",
)
_GOOGLE = partial(
    Partner,
    provider="google",
    package="langchain_google_genai",
    extra="google",
    loggers=("google", "google_genai", "tenacity"),
)

ANTHROPIC_CHAT = Partner(
    provider="anthropic",
    package="langchain_anthropic",
    name="ChatAnthropic",
    extra="anthropic",
    loggers=("anthropic",),
    address_options=("base_url", "anthropic_api_url", "anthropic_proxy"),
)
BEDROCK_CHAT = _BEDROCK(name="ChatBedrockConverse", address_options=("base_url", "endpoint_url"))
BEDROCK_EMBEDDINGS = _BEDROCK(name="BedrockEmbeddings", model_option="model_id", address_options=("endpoint_url",))
COHERE_CHAT = _COHERE(name="ChatCohere", words={"timeout": "timeout_seconds"}, limits_tokens=True)
COHERE_EMBEDDINGS = _COHERE(name="CohereEmbeddings", plain_key=True)
GOOGLE_CHAT = _GOOGLE(name="ChatGoogleGenerativeAI", address_options=("base_url", "client_options", "client_args"))
GOOGLE_EMBEDDINGS = _GOOGLE(name="GoogleGenerativeAIEmbeddings", address_options=("base_url", "client_args"))

PARTNERS: tuple[Partner, ...] = (
    ANTHROPIC_CHAT,
    BEDROCK_CHAT,
    BEDROCK_EMBEDDINGS,
    COHERE_CHAT,
    COHERE_EMBEDDINGS,
    GOOGLE_CHAT,
    GOOGLE_EMBEDDINGS,
)
"""Every partner class that the registry has a row for."""
