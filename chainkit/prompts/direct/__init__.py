"""How each kind of step is run when nobody listens: the work of the step without its run manager."""

from chainkit.prompts.direct import chat, functions, line, maps, parsers, templates, text, wrappers

__all__ = ["chat", "functions", "line", "maps", "parsers", "templates", "text", "wrappers"]
