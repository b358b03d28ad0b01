"""Chat templates are rendered as transformers renders them, and hostile ones end in an error."""

import time
import tracemalloc

import pytest

from chainkit.base.errors import TemplateError
from chainkit.local.template import ChatTemplate
from tests.backends.llama_cpp import tiny

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Who are you?\n"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": 'Say "ü" <b>'},
]
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('MessageEncoder roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
RICH = """{%- set ns = namespace(found=false, n=0) -%}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {%- set ns.n = ns.n + loop.index %}
    {{- loop.first ~ '|' ~ loop.last ~ '|' ~ message.content | trim ~ '|' ~ (message | tojson) }}
    {%- if not loop.last %}{{ '\\n' }}{% endif %}
    {%- if ns.n > 100 %}{% break %}{% endif %}
{%- endfor %}
{{ ns.n }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ 'a,b'.split(',')[-1] }}
{% generation %}x{% endgeneration %}
{%- macro wrap(text, left='<') %}{{ left }}{{ text | upper }}>{% endmacro %}
{{ wrap('in') }} {{ wrap(text='out', left='(') }} {{ [1, 2, 3][1:] | join('+') }}
{{ {'k': [1, 'é']} | tojson(indent=2) }}
{{ tools is defined and tools }} {{ undefined_thing | default('none', true) }} {{ '%s-%d' | format('a', 3) }}"""


@pytest.mark.parametrize("source", [tiny.CHATML, LLAMA2, RICH.replace(" {{ '%s-%d' | format('a', 3) }}", "")])
def test_the_text_is_that_of_transformers(source):
    from transformers.utils.chat_template_utils import render_jinja_template

    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    wanted, _ = render_jinja_template([MESSAGES], chat_template=source, add_generation_prompt=True, **variables)
    assert ChatTemplate(source).render(MESSAGES, add_generation_prompt=True, tools=None, **variables) == wanted[0]


def test_a_template_may_refuse_messages():
    with pytest.raises(TemplateError, match="must alternate"):
        ChatTemplate(LLAMA2).render([MESSAGES[2]], bos_token="", eos_token="")


def test_the_date_can_be_asked_for():
    assert ChatTemplate("{{ strftime_now('%Y') }}").render([]) == time.strftime("%Y")


def test_mentions_looks_for_whole_names():
    assert ChatTemplate("{% if tools %}x{% endif %}").mentions("tools")
    assert not ChatTemplate("{{ toolset }}").mentions("tools")


DOUBLING = (
    "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = OP %}{% endfor %}{{ ns.x }}"
)
NESTING = (
    "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
    "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}"
)
BIG = "('b' * 1000000)"
HOSTILE = {
    "a loop of 10**9": "{% for i in range(10**9) %}x{% endfor %}",
    "a loop of 10**9 as a number": "{% for i in range(1000000000) %}x{% endfor %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops that count on": "{% for i in range(9999) %}{% for j in range(9999) %}{{ i + j }}{% endfor %}{% endfor %}",
    "the classes of Python": "{{ ''.__class__.__mro__ }}",
    "the subclasses of object": "{{ ''.__class__.__base__.__subclasses__() }}",
    "globals by lipsum": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "globals by cycler": "{{ cycler.__init__.__globals__.os }}",
    "globals by a message": "{{ messages[0]['content'].__init__.__globals__ }}",
    "attributes by a filter": "{{ messages[0] | attr('__class__') }}",
    "attributes by map": "{{ ['a'] | map(attribute='__class__.__mro__') | first | first }}",
    "globals of a function": "{{ raise_exception.__globals__ }}",
    "code of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "the environment": "{{ self._TemplateReference__context.environment }}",
    "format reaches in": "{{ '{0.__class__.__mro__}'.format('a') }}",
    "another file": "{% include 'secret' %}",
    "another template": "{% extends 'secret' %}",
    "an import": "{% import 'os' as os %}{{ os }}",
    "a huge power": "{{ 10**10**10 }}",
    "a huge text": "{{ 'a' * 10000000000 }}",
    "a huge list": "{{ [1] * 1000000000 }}",
    "doubling with ~": DOUBLING.replace("OP", "ns.x ~ ns.x"),
    "doubling with +": DOUBLING.replace("OP", "ns.x + ns.x"),
    "doubling with %": DOUBLING.replace("OP", "'%s%s' % (ns.x, ns.x)"),
    "doubling with join": DOUBLING.replace("OP", "[ns.x, ns.x] | join"),
    "doubling with replace": DOUBLING.replace("OP", "ns.x | replace('a', 'aa')"),
    "doubling with format": DOUBLING.replace("OP", "'{}{}'.format(ns.x, ns.x)"),
    "lists that double": NESTING,
    "endless recursion": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "recursion in two": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "a loop that calls itself": "{% for i in range(3) recursive %}{{ loop(range(3)) }}{% endfor %}",
    "a huge width with %": "{{ '%1000000000d' % 1 }}",
    "a huge width with *": "{{ '%*d' % (1000000000, 1) }}",
    "a huge width in format": "{{ '{:>1000000000}'.format('a') }}",
    "a huge width by argument": "{{ '{:>{}}'.format('a', 1000000000) }}",
    "center": "{{ 'a'.center(1000000000) }}",
    "zfill": "{{ 'a'.zfill(99999999) }}",
    "expandtabs": "{{ ('\t' * 90000).expandtabs(90000) }}",
    "translate": f"{{{{ ('a' * 1000000).translate({{97: {BIG}}}) }}}}",
    "replace into a huge text": f"{{{{ {BIG}.replace('b', {BIG}) }}}}",
    "join into a huge text": f"{{{{ {BIG}.join({BIG}) }}}}",
    "a generator joined": "{{ range(100000) | map('string') | join('a' * 100000) }}",
    "indent": "{{ ('a\n' * 90000) | indent(90000) }}",
    "a text in a set": "{% set x %}{% for i in range(90000) %}{{ 'a' * 100000 }}{% endfor %}{% endset %}{{ x }}",
    "literal text in a loop": "{% set x %}{% for i in range(90000) %}"
    + "a" * 50_000
    + "{% endfor %}{% endset %}{{ x }}",
    "a huge JSON": "{{ ['a' * 100000] * 1000 | int | tojson }}",
    "json indented": "{{ [1] | tojson(indent=1000000) }}",
    "a strange time": "{{ strftime_now('%1000000000d') }}",
    "changing the messages": "{{ messages.append(1) }}",
    "division by zero": "{{ 1 / 0 }}",
    "no Jinja": "{% if %}",
    "ten megabytes": "a" * 10_000_000,
    "brackets without end": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "a name that is not there": "{{ x.y.z }}",
    "a namespace printed": "{% set ns = namespace(x='a' * 7000000) %}{{ [ns] * 1000 }}",
    "a namespace joined": "{% set ns = namespace(x='a' * 7000000) %}{{ ([ns] * 1000) | join }}",
    "a namespace as a text": "{% set ns = namespace(x='a' * 7000000) %}{{ ([ns] * 1000) | string | length }}",
    "a namespace in a format": "{% set ns = namespace(x='a' * 7000000) %}{{ '%s' % ([ns] * 1000) }}",
    "a namespace concatenated": "{% set ns = namespace(x='a' * 7000000) %}{{ 'a' ~ ([ns] * 1000) }}",
    "namespaces that double": "{% set o = namespace(n=namespace(a='x')) %}{% for i in range(40) %}"
    "{% set o.n = namespace(a=o.n, b=o.n) %}{% endfor %}{{ o.n }}",
    "a huge number from a text": "{{ ('1' * 7999999) | int(base=32) % 7 }}",
    "numbers that square": "{% set ns = namespace(x=9 ** 60) %}{% for i in range(40) %}{% set ns.x = ns.x * ns.x %}"
    "{% endfor %}{{ ns.x }}",
    "a huge text stripped": "{{ ('a' * 3999999) | trim('b' * 3000000 ~ 'a') }}",
    "a huge text stripped by a method": "{{ ('a' * 3999999).strip('b' * 3000000 ~ 'a') }}",
    "a width out of an argument": "{{ '{:>{}}'.format('x', '2000000000') }}",
    "a precision out of an argument": "{{ '{:.{}f}'.format(1.5, '2000000000') }}",
    "lists that are kept": "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}"
    "{% set ns.l = [ns.l, range(100000) | list] %}{% endfor %}{{ ns.l | length }}",
    "lists kept out of sight": "{% set ns = namespace(l=0) %}{% for i in range(9999) %}"
    "{% set ns.l = namespace(a=ns.l, b=range(100000) | list) %}{% endfor %}",
    "slices that are kept": "{% set ns = namespace(l=0) %}{% set big = range(100000) | list %}"
    "{% for i in range(9999) %}{% set ns.l = namespace(a=ns.l, b=big[1:]) %}{% endfor %}",
    "texts sliced and kept": "{% set ns = namespace(l=0) %}{% set big = 'a' * 4000000 %}{% for i in range(9999) %}"
    "{% set ns.l = namespace(a=ns.l, b=big[1:]) %}{% endfor %}",
    "separators of JSON": "{{ ([0] * 190000) | tojson(separators=('x' * 8000, ':')) }}",
    "JSON indented deeply": "{% set ns = namespace(l=[1]) %}{% for i in range(9000) %}{% set ns.l = [ns.l] %}"
    "{% endfor %}{{ ns.l | tojson(indent=16) }}",
    "lists summed": "{{ (range(90000) | map('list')) | sum(start=[]) }}",
}
GREEDY = [
    "a namespace printed",
    "a namespace as a text",
    "lists that are kept",
    "lists kept out of sight",
    "slices that are kept",
    "texts sliced and kept",
    "separators of JSON",
    "a width out of an argument",
    "doubling with ~",
]


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_templates_end_in_an_error_soon(source):
    begun = time.process_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert time.process_time() - begun < 2.5


@pytest.mark.slow
@pytest.mark.parametrize("name", GREEDY)
def test_hostile_templates_take_little_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            ChatTemplate(HOSTILE[name]).render(MESSAGES)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_a_template_that_gathers_its_messages_in_a_list_renders_a_thousand():
    source = "{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}"
    source += "{{ ns.l | length }}"
    assert ChatTemplate(source).render(MESSAGES * 250) == str(250 * len(MESSAGES))


def test_an_honest_template_renders_a_long_conversation():
    long = [{"role": "user", "content": "word " * 50_000}, {"role": "assistant", "content": "x"}] * 10
    text = ChatTemplate(tiny.CHATML).render(long, add_generation_prompt=True)
    assert len(text) > 2_500_000
    many = ChatTemplate(tiny.CHATML).render(MESSAGES * 500, add_generation_prompt=True)
    assert many.count("<|im_start|>") == 2001
