"""Chat templates: what `transformers` gives them and does with them, and which form of content they want."""

from __future__ import annotations

from datetime import datetime

import pytest

from igw.tokenizing.templates import ChatTemplate

HELLO = [{"role": "user", "content": "<b>hé"}]


def rendered(source: str, **given: object) -> str:
    """Return what a template makes of one message."""
    return ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content }}", "<s><b>hé"),
        ("{% if true %}\n  {% set x = 1 %}\nA{{ x }}\n{% endif %}\nB", "A1\nB"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "<b>hé"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "<b>hé"),
        ("{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}", "TrueTrueTrue"),
        ("{{ missing is defined }}{{ missing }}", "False"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = 5 %}{{ ns.n }}", "5"),
    ],
)
def test_templates_are_rendered_as_transformers_does(source: str, text: str) -> None:
    """Blocks leave no blank lines, JSON is not escaped for HTML, loops can be left."""
    assert rendered(source) == text


def test_tools_documents_and_words_of_the_request_are_there() -> None:
    """By their names."""
    text = rendered(
        "{{ tools[0].name }} {{ documents[0].title }} {{ thinking }} {{ add_generation_prompt }}",
        tools=[{"name": "t"}], documents=[{"title": "d"}], add_generation_prompt=False, more={"thinking": "no"},
    )  # fmt: skip
    assert text == "t d no False"


def test_a_template_may_ask_for_the_date() -> None:
    """In the local time."""
    assert rendered("{{ strftime_now('%Y') }}") == str(datetime.now().astimezone().year)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no system role') }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_a_template_refuses_is_no_prompt(source: str) -> None:
    """Nor may it change anything, or reach what it was not given."""
    with pytest.raises(ValueError, match="refused"):
        rendered(source)


def test_nonsense_is_no_template() -> None:
    """It says what is wrong."""
    with pytest.raises(ValueError, match=r"chat template cannot be used: .*end of template"):
        ChatTemplate("{% for x in y %}", {})


@pytest.mark.parametrize(
    ("source", "in_parts"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% for m in messages %}{% for p in m['content'] %}{{ p.text }}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for p in m.content | list %}x{% endfor %}{% endfor %}", True),
        (
            "{% set rest = messages[1:] %}{% for m in rest %}{% for p in m.content %}{% endfor %}{% endfor %}",
            True,
        ),
        ("{% macro show(content) %}{% for p in content %}x{% endfor %}{% endmacro %}", True),
        ("{% for t in tools %}{% for p in t.content %}x{% endfor %}{% endfor %}", False),
    ],
)
def test_templates_that_loop_over_content_want_parts(source: str, in_parts: bool) -> None:
    """As vLLM finds out."""
    assert ChatTemplate(source, {}).takes_parts is in_parts
