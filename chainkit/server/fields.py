"""Request bodies as pydantic models; the OpenAPI document is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Json: TypeAlias = dict[str, Any]
_MOST_TOKENS = 1 << 24
_SEED = (1 << 63) - 1


class RequestFields(BaseModel):
    """A body: an unknown field is an error, and a number in quotes is none."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class MessageFields(BaseModel):
    """Part of an earlier message: unknown fields are dropped."""

    model_config = ConfigDict(strict=True)


class ContentPart(BaseModel):
    """A part of a message: a text, a picture or a file."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Text
    text: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> ContentPart:
        if self.type in ("text", "input_text", "output_text") and self.text is None:
            raise ValueError(f"a part of type {self.type!r} has a text")
        return self


class CalledFunction(MessageFields):
    """The function of a call."""

    name: Text
    arguments: str


class MadeCall(MessageFields):
    """A call that the model has made."""

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(MessageFields):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of role {self.role!r} has a content")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a message of role 'tool' has a tool_call_id")
        return self


class Function(RequestFields):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(RequestFields):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class NamedFunction(RequestFields):
    """The name of a function."""

    name: Text


class ToolChoice(RequestFields):
    """The one tool that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class FormSchema(RequestFields):
    """A named JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    json_schema: Json | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextForm(RequestFields):
    """Free text."""

    type: Literal["text"]


class JsonForm(RequestFields):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaForm(RequestFields):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: FormSchema


Form: TypeAlias = Annotated[TextForm | JsonForm | SchemaForm, Field(discriminator="type")]


class StreamOptions(RequestFields):
    """What a stream tells besides."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(RequestFields):
    """Sampling settings; missing ones keep the model's defaults.

    `logit_bias` and the penalties go to hosted models; a local model takes `top_k`, `min_p` and `repeat_penalty`.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    seed: Annotated[int, Field(ge=-_SEED, le=_SEED)] | None = None
    stop: Text | list[Text] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, float] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _no_options_without_a_stream(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only for stream=true")
        return self


class ChatBody(Sampling):
    """A body of /v1/chat/completions."""

    model: Text
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Form | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    variables: Json | None = Field(default=None, description="For programs and chains: their input by name.")
    # taken so that clients can send them; without effect
    metadata: Json | None = None
    modalities: list[str] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    verbosity: str | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> ChatBody:
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("tool_choice asks for a call, and there are no tools")
        if isinstance(self.tool_choice, ToolChoice):
            name = self.tool_choice.function.name
            if name not in {tool.function.name for tool in self.tools or ()}:
                raise ValueError(f"tool_choice names {name!r}, which is none of the tools")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is only for logprobs=true")
        if self.modalities and set(self.modalities) != {"text"}:
            raise ValueError("modalities: only text is written here")
        return self


class CompletionBody(Sampling):
    """A body of /v1/completions."""

    model: Text
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None


class EmbeddingsBody(RequestFields):
    """A body of /v1/embeddings."""

    model: Text
    input: str | Annotated[list[str], Field(min_length=1)] = Field(description="A text, or several; no token ids.")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Refused unless it is the dimension of the vectors."
    )
    input_type: Literal["document", "query"] | None = Field(
        default=None, description="What the texts are, for models that tell questions from documents."
    )
    user: str | None = None


class RerankedDocument(RequestFields):
    """A document to put in an order."""

    text: str


class RerankBody(RequestFields):
    """A body of /v1/rerank."""

    model: Text
    query: Text
    documents: Annotated[list[str | RerankedDocument], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None


class QuestionFields(RequestFields):
    """A typed question, in langchain-core's form.

    `noul` is answered by yes or no, with what counts as `true` and `false` as criteria; `choice` by one of the labels
    that are the keys of the criteria; `score` by a level, whose meanings are a list, the lowest first.
    """

    type: Literal["noul", "choice", "score"]
    instructions: Text
    criteria: dict[str, str | None] | list[str] | None = None

    @model_validator(mode="after")
    def _criteria_of_its_kind(self) -> QuestionFields:
        given = self.criteria
        if self.type == "choice" and not (isinstance(given, dict) and given):
            raise ValueError("the criteria of a choice are its labels, each with a description or null")
        if self.type == "score" and not (isinstance(given, list) and len(given) > 1):
            raise ValueError("the criteria of a score are a list of what its levels mean, two or more")
        if self.type == "noul" and given is not None and not (isinstance(given, dict) and given.keys() <= YES_NO):
            raise ValueError("the criteria of a noul are what counts as 'true' and as 'false'")
        return self


YES_NO = frozenset({"true", "false"})


class DecisionsBody(RequestFields):
    """A body of /v1/decisions."""

    model: Text
    state: Annotated[str | Json | list[Any], Field(description="What the questions are about.")]
    questions: Annotated[dict[str, QuestionFields], Field(min_length=1, max_length=64)]


class ResponseItem(MessageFields):
    """An item of the input of /v1/responses: a message, a call, or what came of a call."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentPart] | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseItem:
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
            "reasoning": (),
        }
        for name in needed[self.type]:
            if getattr(self, name) is None:
                raise ValueError(f"an item of type {self.type!r} has a field {name!r}")
        return self


class ResponseTool(RequestFields):
    """A function that the model may call, as this API describes it."""

    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class ResponseToolChoice(RequestFields):
    """The one tool that must be called."""

    type: Literal["function"]
    name: Text


class FlatSchemaForm(FormSchema):
    """JSON of a schema, as this API describes it."""

    type: Literal["json_schema"]


class TextOptions(RequestFields):
    """What form the text has."""

    format: Annotated[TextForm | JsonForm | FlatSchemaForm, Field(discriminator="type")] | None = None
    verbosity: str | None = None


class ResponsesBody(RequestFields):
    """A body of /v1/responses."""

    model: Text
    input: Text | Annotated[list[ResponseItem], Field(min_length=1)]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[str] | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    variables: Json | None = Field(default=None, description="For programs and chains: their input by name.")
    # taken so that clients can send them; without effect
    metadata: Json | None = None
    prompt_cache_key: str | None = None
    reasoning: Json | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
