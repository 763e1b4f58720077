"""A browser, and pickers for it to look at: the real stack, and one with a thousand servers."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from igw.dashboard.dashboard import Dashboard
from igw.debugging.access import guard
from igw.endpoint import Endpoint
from igw.explaining.explaining import Explaining
from igw.explaining.settings import Settings as Explain
from igw.extproc.listening import Ports, show
from igw.flow.settings import Settings
from igw.routing.holding import Holding
from igw.routing.observed_queues import ObservedQueues
from igw.telemetry.families import Families
from tests.routing.test_router import Routing
from tests.stack.conftest import stack

__all__ = ["stack"]
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PATIENCE_SECONDS = 15.0


class Desk(Routing):
    """A router with queues and a dashboard, and no process around them."""

    def __init__(self, endpoints: int) -> None:
        members = tuple(
            Endpoint.at(
                f"10.0.{at // 250}.{at % 250 + 1}", 8000, f"vllm-{at:04d}", labels={"accelerator": "H100"}
            )
            for at in range(endpoints)
        )
        super().__init__(llama=members)
        (self.columns,) = self.pools.all()
        families = Families()
        self.holding = Holding(
            self.router, self.pools, self.ledger, self.clock, lambda _: None, ObservedQueues(families, self.clock)
        )  # fmt: skip
        self.holding.use(Settings())
        self.explaining = Explaining(Explain(), self.router, self.ledger, self.prefix, families, self.clock)
        self.dashboard = Dashboard(self.pools, self.prefix, self.ledger, lambda: self.holding, self.clock)

    def clock(self) -> float:
        """Return what the test says."""
        return self.now

    def fill(self) -> None:
        """Report of every endpoint something that is its own."""
        for at, endpoint in enumerate(self.columns.pool.endpoints):
            self.columns.report(endpoint.hostport, at % 7, at % 32, at / len(self.columns.pool))
        self.columns.inflight[:] = np.arange(len(self.columns.pool)) % 40

    @contextlib.asynccontextmanager
    async def served(self, **said: Any) -> Any:
        """Serve the dashboard, with pages beside it that say what was *said* by their names, or nothing; give its address."""
        pages: dict[str, Any] = {
            "/config": {"source": "", "concerns": [], "refused": None},
            "/debug/config": {},
            "/debug/slo": [],
            "/debug/shadow": {"share": 0.1, "skipped": 0, "shadows": []},
        }
        pages |= {path: said[name] for path in pages if (name := path.rpartition("/")[2]) in said}
        written = {path: partial(msgspec.json.encode, value) for path, value in pages.items()}
        async with contextlib.AsyncExitStack() as stack:
            ports = Ports("127.0.0.1", 0, 0, 0)
            routes = (*self.dashboard.routes(), *self.explaining.routes())
            address, _ = await show(stack, ports, CollectorRegistry(), written, routes, guard(None))
            stack.callback(self.dashboard.close)
            yield f"http://{address}"


@contextlib.contextmanager
def looked_at(filled: Callable[[], Desk], **said: Any) -> Iterator[str]:
    """Serve the dashboard of a desk that is made and *filled* where it is served, a thread in which time passes; give its address."""
    found: list[str] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        loop, desk = asyncio.get_running_loop(), filled()

        def tick() -> None:
            desk.now += 0.25
            loop.call_later(0.25, tick)

        tick()
        async with desk.served(**said) as address:
            found.append(address)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield found[0]
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def thousand() -> Iterator[str]:
    """Give the address of the dashboard of a pool of 1,000 servers, two of which are out."""

    def filled() -> Desk:
        desk = Desk(1000)
        desk.fill()
        desk.columns.fail(desk.columns.pool.endpoints[7].hostport)
        desk.columns.eject(desk.columns.pool.endpoints[8].hostport, 1e9)
        return desk

    with looked_at(filled) as address:
        yield address


class Browser:
    """Chromium, with what tests ask of a page."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def open(self, url: str, width: int = 1600, height: int = 1200) -> None:
        """Show a page in a window of that size."""
        self.chrome.set_window_size(width, height)
        self.chrome.get("about:blank")  # so that a fragment alone loads the page too
        self.chrome.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.chrome.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Return what a person reads there; nothing if it is not there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def until(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns once that is something."""
        waiting = WebDriverWait(self.chrome, PATIENCE_SECONDS, poll_frequency=0.05)
        return waiting.until(
            lambda _: self.run(script, *arguments), f"never came: {script} {self.text('body')[:2000]}"
        )

    def until_live(self) -> None:
        """Return once an overview is shown."""
        self.until("return document.getElementById('link').dataset.state === 'live'")

    def press(self, *keys: str) -> None:
        """Press keys one after another where the focus is."""
        for key in keys:
            self.chrome.switch_to.active_element.send_keys(key)

    def keep(self, name: str) -> None:
        """Keep a screenshot in `build/screenshots`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.chrome.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def troubles(self) -> list[str]:
        """Return what the console has to say: errors of scripts, and what the content security policy stopped."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """Give a Chromium without a window."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("there is no chromium and chromedriver (Debian's packages chromium and chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--lang=en",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Browser]:
    """Give the browser; a test whose page complained has failed."""
    found = Browser(chromium)
    chromium.get_log("browser")
    yield found
    assert found.troubles() == []


Scheme = Callable[[str], None]


@pytest.fixture
def prefers(chromium: Chrome) -> Iterator[Scheme]:
    """Give what tells the page whether its reader's system is `light` or `dark`."""

    def tell(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    yield tell
    tell("")
