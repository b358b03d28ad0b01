"""The private names of langchain-core and langsmith that the direct way rests on: this says which one vanished."""

from __future__ import annotations

import importlib
import inspect

import pytest

NAMES = [
    "langchain_core.globals:_debug",
    "langchain_core.globals:_llm_cache",
    "langchain_core.callbacks.manager:_configure",
    "langchain_core.tracers.context:_configure_hooks",
    "langchain_core.tracers.context:_tracing_v2_is_enabled",
    "langchain_core.tracers.context:tracing_v2_callback_var",
    "langchain_core.language_models._utils:_normalize_messages",
    "langchain_core.language_models.chat_models:_gen_info_and_msg_metadata",
    "langchain_core.language_models.chat_models:BaseChatModel._convert_input",
    "langchain_core.language_models.chat_models:BaseChatModel._should_stream",
    "langchain_core.language_models.chat_models:BaseChatModel._generate_with_cache",
    "langchain_core.language_models.chat_models:BaseChatModel._agenerate_with_cache",
    "langchain_core.language_models.llms:BaseLLM._convert_input",
    "langchain_core.language_models.llms:BaseLLM._generate_helper",
    "langchain_core.language_models.llms:BaseLLM._agenerate_helper",
    "langchain_core.output_parsers:BaseTransformOutputParser._transform",
    "langchain_core.output_parsers:BaseTransformOutputParser._atransform",
    "langchain_core.prompts:BasePromptTemplate._validate_input",
    "langchain_core.prompts:BasePromptTemplate._merge_partial_and_user_variables",
    "langchain_core.prompts:BasePromptTemplate._format_prompt_with_error_handling",
    "langchain_core.prompts:BasePromptTemplate._aformat_prompt_with_error_handling",
    "langchain_core.runnables:RunnableLambda._invoke",
    "langchain_core.runnables:RunnableLambda._ainvoke",
    "langchain_core.runnables:RunnablePick._pick",
    "langchain_core.runnables.base:RunnableBindingBase._merge_configs",
    "langchain_core.runnables.passthrough:RunnableAssign._invoke",
    "langchain_core.runnables.retry:RunnableRetry._sync_retrying",
    "langchain_core.runnables.retry:RunnableRetry._async_retrying",
    "langchain_core.utils._signature:_signature_parameters",
    "langsmith._internal._context:_TRACING_ENABLED",
    "langsmith._internal._context:_GLOBAL_TRACING_ENABLED",
    "langsmith._internal._context:get_current_run_tree",
    "langsmith.utils:get_env_var",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_still_there(name: str) -> None:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        assert hasattr(found, part), (
            f"{name} has vanished: see chainkit/prompts/direct and chainkit/prompts/unobserved.py"
        )
        found = getattr(found, part)


def test_langsmith_still_asks_what_is_asked_here() -> None:
    utils = importlib.import_module("langsmith.utils")
    text = inspect.getsource(utils.tracing_is_enabled)
    for word in ('tc["enabled"]', "get_current_run_tree", "_GLOBAL_TRACING_ENABLED", "TRACING_V2", '"true"'):
        assert word in text, f"tracing is switched on in another way now: {word}"
