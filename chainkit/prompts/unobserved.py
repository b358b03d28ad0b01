"""Whether anybody could notice how a chain runs.

langchain-core asks the same question for every step, by building a callback manager; here it is asked once for a whole
chain. The answer "nobody" must never be wrong, so all that is not known is taken for a listener. The private names of
langchain-core and langsmith that this rests on are listed by `tests/prompts/test_private_names.py`.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from langchain_core import globals as settings
from langchain_core.callbacks import BaseCallbackManager, CallbackManager
from langchain_core.callbacks import manager as managers
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import DEFAULT_RECURSION_LIMIT, var_child_runnable_config
from langchain_core.utils.env import env_var_is_set
from langchain_core.utils.uuid import uuid7
from langsmith import utils as langsmith_utils
from langsmith._internal import _context as langsmith_context

from chainkit.prompts.stock import of_core

_TRACERS = "langchain_core.tracers.context"
_SILENT = frozenset({"run_name", "recursion_limit", "max_concurrency"})
_SILENT_IF_EMPTY = frozenset({"tags", "metadata", "configurable"})


def unheard(config: RunnableConfig | None) -> RunnableConfig | None:
    """The config for the steps of a run that nobody can observe, or None if somebody might.

    Nobody can if neither the config nor the context brings callbacks, tags, metadata, configurable values or a run id,
    the debug switch is off, LangSmith's tracing is off, and no hook would add a callback handler.
    """
    around = var_child_runnable_config.get()
    if (config and not _silent(config)) or (around and not _silent(around)) or _listened_to():
        return None
    quiet: RunnableConfig = {
        "tags": [],
        "metadata": {},
        # Functions that dispatch events need a parent run, even if nobody hears them.
        "callbacks": CallbackManager(handlers=[], parent_run_id=uuid7()),
        "recursion_limit": DEFAULT_RECURSION_LIMIT,
        "configurable": {},
    }
    if around:
        _inherit(quiet, around)
    if config:
        _inherit(quiet, config)
    return quiet


def _silent(config: Mapping[str, Any]) -> bool:
    for key, value in config.items():
        if key in _SILENT or value is None:
            continue
        if key == "callbacks":
            if value and not _empty_manager(value):
                return False
        elif value or key not in _SILENT_IF_EMPTY:
            return False
    return True


def _empty_manager(callbacks: object) -> bool:
    return isinstance(callbacks, BaseCallbackManager) and not (
        callbacks.handlers
        or callbacks.inheritable_handlers
        or callbacks.inheritable_tags
        or callbacks.inheritable_metadata
    )


def _inherit(quiet: RunnableConfig, config: RunnableConfig) -> None:
    if (limit := config.get("recursion_limit")) is not None:
        quiet["recursion_limit"] = limit
    if (concurrency := config.get("max_concurrency")) is not None:
        quiet["max_concurrency"] = concurrency


def _listened_to() -> bool:
    """Whether a switch of the process, or of the context, would add a callback handler."""
    return settings._debug or _instrumented() or _traced() or _hooked()


# Instrumentation libraries listen by wrapping these two. If one was here first, all is taken for observed.
_WATCHED = (BaseCallbackManager.__init__, managers._configure)
_UNTOUCHED = all(map(of_core, _WATCHED))


def _instrumented() -> bool:
    init, configure = _WATCHED
    return not _UNTOUCHED or BaseCallbackManager.__init__ is not init or managers._configure is not configure


def _traced() -> bool:
    """What `langchain_core.tracers.context._tracing_v2_is_enabled` answers, without importing LangSmith's client."""
    environ = os.environ
    if "LANGCHAIN_TRACING" in environ or "LANGCHAIN_HANDLER" in environ:
        return True  # langchain-core refuses these or not: let it say so
    tracers = sys.modules.get(_TRACERS)
    if tracers is not None and tracers.tracing_v2_callback_var.get() is not None:
        return True
    # A run tree alone turns tracing on, and also gives runs a parent when tracing is off.
    if langsmith_context.get_current_run_tree() is not None:
        return True
    for enabled in (langsmith_context._TRACING_ENABLED.get(), langsmith_context._GLOBAL_TRACING_ENABLED):
        if enabled is not None:
            return bool(enabled)
    variable = langsmith_utils.get_env_var
    return variable("TRACING_V2", default=variable("TRACING", default="")) == "true"


def _hooked() -> bool:
    tracers = sys.modules.get(_TRACERS)
    if tracers is None:
        return False
    for variable, _, maker, switch in tracers._configure_hooks:
        if variable.get() is not None or (switch and maker and env_var_is_set(switch)):
            return True
    return False
