"""The dashboard in a real Chromium, in front of the real stack and of a thousand servers. Screenshots are in `build/screenshots`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from igw.app.settings import InForce
from igw.endpoint import Endpoint, Pool
from igw.outcomes.attainment import Attained, Burnt
from igw.scheduling.concerns import Concern
from igw.shadowing.shadowing import Table
from igw.shadowing.standing import Row, Standing, Verdict
from tests.dashboard.conftest import Desk, looked_at

if TYPE_CHECKING:
    from tests.dashboard.conftest import Browser, Scheme
    from tests.stack.conftest import Up

README = (Path(__file__).parents[2] / "README.md").read_text()
FIRST_ROW = "#decisions tbody tr:first-child"


def address(stack: Up) -> str:
    """Return where the dashboard of a stack is."""
    return f"http://{stack.address('dashboard')}/"


def send_the_readmes_request(stack: Up) -> str:
    """Send it as printed, and return its `x-request-id`."""
    (curl,) = re.findall(r"^curl -s http.*?^```$", README, re.DOTALL | re.MULTILINE)
    command = (
        curl.removesuffix("```").replace("127.0.0.1:8080", stack.listener).replace("curl -s", "curl -si")
    )
    done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True, timeout=30)
    return re.findall(r"^x-request-id: (\S+)", done.stdout, re.MULTILINE)[0]


def background(browser: Browser) -> int:
    """Return how bright the page is, 0 to 255."""
    found = browser.run("return getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", found)[:3]) // 3


def test_the_readmes_request_appears_and_a_click_says_why(browser: Browser, stack: Up) -> None:
    """The sentence is that of the picker; candidates, terms and what became of it are there."""
    browser.open(address(stack))
    browser.until_live()
    assert "Nothing was decided lately" in browser.text("#decisions")
    request_id = send_the_readmes_request(stack)
    browser.until("return document.querySelector(arguments[0])", FIRST_ROW)
    browser.until("return document.querySelector(arguments[0]).innerText.includes('200')", FIRST_ROW)
    browser.keep("quickstart-light")
    browser.run("document.querySelector(arguments[0]).click()", FIRST_ROW)
    browser.until("return document.querySelector('dialog[open] table')")
    said = browser.text("dialog")
    assert re.search(r"Why sim-\d\?", said)
    assert re.search(r"sim-\d, (because it would|which would) add [\d.]+ m?s", said)
    for word in (
        request_id,
        "picked",
        "retry 1",
        "decode",
        "llama-3.1-8b",
        "Predicted",
        "complete, status 200",
    ):
        assert word in said
    browser.keep("decision-light")
    bars = browser.run(
        "return [...document.querySelectorAll('dialog .stack')].map((each) => each.children.length)"
    )
    assert len(bars) == 4
    assert all(bars)


def test_keys_alone_do_all_of_it(browser: Browser, stack: Up) -> None:
    """Arrows move among rows, Enter opens, Esc closes and leads back to the row."""
    for _ in range(3):
        send_the_readmes_request(stack)
    browser.open(address(stack))
    browser.until("return document.querySelectorAll('#decisions tbody tr').length >= 3")
    browser.press(Keys.TAB)
    assert browser.run("return document.activeElement.className") == "skip"
    for _ in range(30):
        if browser.run("return document.activeElement.closest('#decisions tbody') !== null"):
            break
        browser.press(Keys.TAB)
    first = browser.run("return document.activeElement.dataset.row")
    browser.press(Keys.ARROW_DOWN)
    second = browser.run("return document.activeElement.dataset.row")
    assert first
    assert second not in {None, first}
    browser.press(Keys.END, Keys.HOME, Keys.ARROW_DOWN)
    assert browser.run("return document.activeElement.dataset.row") == second
    browser.press(Keys.ENTER)
    browser.until("return document.querySelector('dialog[open]')")
    assert browser.run("return document.querySelector('dialog').contains(document.activeElement)")
    assert second in browser.run("return location.hash")
    browser.press(Keys.ESCAPE)
    browser.until("return !document.querySelector('dialog[open]')")
    assert browser.run("return document.activeElement.dataset.row") == second
    browser.until("return location.hash === ''")


def test_a_link_to_a_decision_opens_it(browser: Browser, stack: Up) -> None:
    """By any id that `igw explain` takes; one that is not kept says so."""
    request_id = send_the_readmes_request(stack)
    browser.open(f"{address(stack)}debug/dashboard/#decision={request_id}")
    browser.until("return document.querySelector('dialog[open] .sentence')")
    assert request_id in browser.text("dialog")
    browser.open(f"{address(stack)}debug/dashboard/#decision=nothing-of-the-kind")
    browser.until("return document.querySelector('dialog[open]')?.innerText.includes('no decision')")
    missing = (
        browser.troubles()
    )  # the 404, which the browser writes down by itself, once for every time that it asks
    assert missing
    assert all("404" in each for each in missing)


def test_light_and_dark_follow_the_system_unless_the_reader_chose(
    browser: Browser, stack: Up, prefers: Scheme
) -> None:
    """The choice is remembered."""
    prefers("dark")
    browser.open(address(stack))
    browser.until_live()
    assert background(browser) < 60
    browser.keep("quickstart-dark")
    prefers("light")
    assert background(browser) > 200
    choose = "const theme = document.getElementById('theme'); theme.value = arguments[0]; theme.dispatchEvent(new Event('change'))"
    browser.run(choose, "dark")
    assert background(browser) < 60
    browser.open(address(stack))
    assert background(browser) < 60
    browser.run(choose, "")
    assert background(browser) > 200


def test_a_paused_page_asks_for_nothing(browser: Browser, stack: Up) -> None:
    """And goes on when told."""
    browser.open(address(stack))
    browser.until_live()
    browser.run("document.getElementById('pause').click()")
    assert browser.text("#link") == "paused"
    before = browser.run("return performance.getEntriesByType('resource').length")
    browser.run("document.getElementById('pause').click()")
    browser.until_live()
    browser.until("return performance.getEntriesByType('resource').length >= arguments[0]", before)


def test_a_narrow_window_needs_no_scrolling_sideways(browser: Browser, stack: Up) -> None:
    """Tables scroll in their own place."""
    browser.open(address(stack), 500, 900)
    browser.until_live()
    browser.keep("quickstart-narrow")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_an_edit_that_is_refused_is_shown_at_the_top(browser: Browser, stack: Up) -> None:
    """As an alert, until it is mended."""
    browser.open(address(stack))
    browser.until_live()
    pool = stack.manifests / "pool.yaml"
    good = pool.read_text()
    pool.write_text(good.replace("targetPorts", "targetPort"))
    try:
        browser.until(
            "return document.querySelector('#notices [role=alert]')?.innerText.includes('targetPort')"
        )
    finally:
        pool.write_text(good)
    browser.until("return !document.querySelector('#notices [role=alert]')")


def test_a_thousand_servers_are_shown_and_few_rows_are_there(browser: Browser, thousand: str) -> None:
    """Every server is in the heat map; of the table what is in sight. Those that are out are said aloud."""
    browser.open(thousand)
    browser.until("return document.querySelectorAll('.map i').length === 1000")
    assert browser.run("return document.querySelectorAll('.map i[data-level=out]').length") == 2
    rows = browser.run("return document.querySelectorAll('.pool tbody tr[data-row]').length")
    assert 10 <= rows <= 30
    assert browser.run("return document.querySelector('.pool table').getAttribute('aria-rowcount')") == "1001"
    assert browser.text(".pool small").startswith("1000 servers, 2 out")
    assert (
        browser.run("return document.getElementById('told').textContent")
        == "2 servers out: vllm-0007, vllm-0008"
    )
    browser.keep("thousand-light")


def test_the_last_of_a_thousand_is_a_key_away(browser: Browser, thousand: str) -> None:
    """And sorting, filtering and a click in the heat map find one."""
    browser.open(thousand)
    browser.until("return document.querySelector('.pool tr[data-row]')")
    browser.run("document.querySelector('.pool tr[data-row]').focus()")
    browser.press(Keys.END)
    last = "return document.activeElement.innerText.includes(arguments[0])"
    browser.until(last, "vllm-0999")
    browser.press(Keys.PAGE_UP)
    browser.until(last, "vllm-0989")
    browser.run(
        "[...document.querySelectorAll('.pool th button')].find((each) => each.textContent === 'In flight').click()"
    )
    assert browser.run(
        "return document.querySelector('.pool th[aria-sort=descending]').innerText"
    ).startswith("In flight")
    assert "39" in browser.text(".pool tr[data-row='0']")
    browser.run(
        "const filter = document.querySelector('.pool input'); filter.value = 'failing'; filter.dispatchEvent(new Event('input'))"
    )
    assert "vllm-0007" in browser.text(".pool tr[data-row='0']")
    assert browser.run("return document.querySelectorAll('.pool tr[data-row]').length") == 1
    browser.run("document.querySelectorAll('.map i')[500].click()")
    assert "vllm-0500" in browser.run("return document.activeElement.innerText")


def test_slow_cards_show_what_their_pages_say_and_names_stay_text(browser: Browser) -> None:
    """Objectives, shadows and configuration; whoever names a server, a tenant or a model can put no markup in."""
    hostile = "<img src=x onerror=document.title='taken'>"
    burnt = {"5m": Burnt(90, 10, 10.0), "1h": Burnt(90, 10, 10.0), "6h": Burnt(990, 10, 1.0)}
    slo = Attained(
        "default/llama", hostile, "m", "ttft", 0.5, 0.99, {"attained": 990}, burnt, -0.5, {"queue": 3.0}
    )
    standing = Standing(0.0)
    standing.add(Verdict("41", "10.0.0.1:8000", "10.0.0.2:8000", 0.2, 0.1), 1e-5)
    row = Row(
        hostile, "least.yaml", "it failed: a fault", "", 60.0, 1, 0, 0, 0.0, 1, 1, 0, 0.2, 0.1, 1e-5, [], [], list(standing.differing)
    )  # fmt: skip
    config = InForce("picker.yaml", [Concern("IGW101", hostile, "is not what it seems")])

    def filled() -> Desk:
        desk = Desk(2)
        desk.pools.adopt(
            {"default/llama": Pool("llama", "default", (Endpoint.at("10.0.0.1", 8000, hostile),))}
        )
        return desk

    with looked_at(filled, slo=[slo], shadow=Table(0.1, 3, [row]), config=config) as address:
        browser.open(address)
        browser.until("return document.querySelector('#configuration li')")
        assert hostile in browser.text("#pools")
        objectives, shadows = browser.text("#objectives"), browser.text("#shadows")
        for word in (hostile, "ttft 99 % in 500 ms", "90 %", "10×", "overdrawn", "queue 3 s"):
            assert word in objectives
        for word in (hostile, "is off: it failed: a fault", "200 ms", "100 ms", "1 / 0", "Where"):
            assert word in shadows
        assert f"IGW101 {hostile}: is not what it seems" in browser.text("#configuration")
        browser.run("document.querySelector('#configuration button').click()")
        browser.until("return document.querySelector('#configuration pre').innerText.includes('IGW101')")
        browser.keep("cards-light")
        assert browser.run("return document.querySelectorAll('main img').length") == 0
        assert browser.chrome.title == "igw"


def test_every_control_has_a_name_and_every_table_its_heads(browser: Browser, thousand: str) -> None:
    """For those who do not see the page: by Chromium's own tree of what it tells them."""
    browser.open(thousand)
    browser.until("return document.querySelector('.pool tr[data-row]')")
    tree = browser.chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {
        "button",
        "combobox",
        "searchbox",
        "textbox",
        "grid",
        "table",
        "img",
        "dialog",
        "columnheader",
        "region",
    }
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]
    ]
    assert {role for role, _ in seen} >= {"main", "banner", "grid", "status", "columnheader", "searchbox"}
    assert [role for role, name in seen if role in wanted and not name] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_what_is_behind_it(
    browser: Browser, thousand: str, prefers: Scheme, scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1, for each colour that text has on a card."""
    prefers(scheme)
    browser.open(thousand)
    browser.until("return document.querySelector('.pool tr[data-row]')")
    script = """
      const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      const light = (color) => {
        canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
        return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
      };
      const shown = (name) => {
        const probe = document.createElement("span");
        probe.style.color = `var(--${name})`; document.body.append(probe);
        const found = light(getComputedStyle(probe).color); probe.remove(); return found;
      };
      const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return Object.fromEntries(["text", "soft", "accent", "bad", "warn", "good"].map((name) => [name, ratio(shown(name), shown("card"))]));
    """
    found = browser.run(script)
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
    browser.keep(f"thousand-{scheme}")
