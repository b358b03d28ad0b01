"""Chat templates by name, for models of 2023 whose files hold none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainkit.base.errors import TemplateError, nearest


@dataclass(frozen=True)
class NamedTemplate:
    """A way of writing chats that some family of models was trained on.

    Attributes:
        source: The Jinja template.
        stop: Texts at which an answer is over, for models that have no token for it.
    """

    source: str
    stop: tuple[str, ...] = ()


_LLAMA_2 = """\
{%- if messages[0]['role'] == 'system' -%}
{%- set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' -%}
{%- set messages = messages[1:] -%}
{%- else -%}
{%- set system = '' -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' -%}
{{ ' ' + message['content'].strip() + ' ' + eos_token }}
{%- else -%}
{{ raise_exception('Llama 2 knows system (first), user and assistant, not ' + message['role']) }}
{%- endif -%}
{%- endfor -%}"""

_VICUNA = """\
{%- if messages[0]['role'] == 'system' -%}
{{ messages[0]['content'] + ' ' }}
{%- set messages = messages[1:] -%}
{%- else -%}
{{ 'A chat between a curious user and an artificial intelligence assistant. ' }}
{{- "The assistant gives helpful, detailed, and polite answers to the user's questions. " }}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ 'USER: ' + message['content'] + ' ' }}
{%- elif message['role'] == 'assistant' -%}
{{ 'ASSISTANT: ' + message['content'] + eos_token }}
{%- else -%}
{{ raise_exception('Vicuna knows system (first), user and assistant, not ' + message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"""

_ALPACA = """\
{%- if messages[0]['role'] == 'system' -%}
{{ messages[0]['content'] + '\\n\\n' }}
{%- set messages = messages[1:] -%}
{%- else -%}
{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\\n\\n' }}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'assistant' -%}
{{ '### Response:\\n' + message['content'] + '\\n\\n' }}
{%- else -%}
{{ raise_exception('Alpaca knows system (first), user and assistant, not ' + message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Response:\\n' }}{%- endif -%}"""

_CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"""

TEMPLATES: Mapping[str, NamedTemplate] = {
    "llama-2": NamedTemplate(_LLAMA_2),
    "vicuna": NamedTemplate(_VICUNA, stop=("USER:",)),
    "alpaca": NamedTemplate(_ALPACA, stop=("### Instruction:",)),
    "chatml": NamedTemplate(_CHATML, stop=("<|im_end|>",)),
}


def named_template(text: str) -> NamedTemplate:
    """The template of a name, or the text itself if it is a Jinja template.

    Raises:
        TemplateError: It is neither.
    """
    if "{" in text:
        return NamedTemplate(text)
    if text.strip().lower() in TEMPLATES:
        return TEMPLATES[text.strip().lower()]
    hint = nearest(text, TEMPLATES)
    advice = f"did you mean '{hint}'?" if hint else f"names: {', '.join(TEMPLATES)}; or give a Jinja template"
    raise TemplateError(f"no chat template is called '{text}'; {advice}")
