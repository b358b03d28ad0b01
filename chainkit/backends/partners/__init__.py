"""Providers whose clients others keep, as LangChain partner packages: data, and one way to make them."""

from __future__ import annotations

from chainkit.backends.partners.partner import Partner as Partner

ANTHROPIC_CHAT = Partner(
    provider="anthropic",
    package="langchain_anthropic",
    name="ChatAnthropic",
    extra="anthropic",
    loggers=("anthropic",),
    address_options=("base_url", "anthropic_api_url", "anthropic_proxy"),
)
BEDROCK_CHAT = Partner(
    provider="bedrock",
    package="langchain_aws",
    name="ChatBedrockConverse",
    extra="bedrock",
    loggers=("boto3", "botocore", "urllib3"),
    key_option="",
    address_options=("base_url", "endpoint_url"),
)
BEDROCK_EMBEDDINGS = Partner(
    provider="bedrock",
    package="langchain_aws",
    name="BedrockEmbeddings",
    extra="bedrock",
    loggers=("boto3", "botocore", "urllib3"),
    key_option="",
    model_option="model_id",
    address_options=("endpoint_url",),
)
COHERE_CHAT = Partner(
    provider="cohere",
    package="langchain_cohere",
    name="ChatCohere",
    extra="cohere",
    loggers=("cohere",),
    key_option="cohere_api_key",
    words={"timeout": "timeout_seconds"},
    limits_tokens=True,
)
COHERE_EMBEDDINGS = Partner(
    provider="cohere",
    package="langchain_cohere",
    name="CohereEmbeddings",
    extra="cohere",
    loggers=("cohere",),
    key_option="cohere_api_key",
    plain_key=True,
)
GOOGLE_CHAT = Partner(
    provider="google",
    package="langchain_google_genai",
    name="ChatGoogleGenerativeAI",
    extra="google",
    loggers=("google", "google_genai", "tenacity"),
    address_options=("base_url", "client_options", "client_args"),
)
GOOGLE_EMBEDDINGS = Partner(
    provider="google",
    package="langchain_google_genai",
    name="GoogleGenerativeAIEmbeddings",
    extra="google",
    loggers=("google", "google_genai", "tenacity"),
    address_options=("base_url", "client_args"),
)

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
