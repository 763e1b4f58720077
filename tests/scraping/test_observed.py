"""What the picker's metrics page says of scraping."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.prefix.index import PrefixIndex
from igw.scraping.observed import collect
from igw.scraping.report import Report
from igw.scraping.scraper import Scraper, ScrapeStatistics, Status
from igw.scraping.settings import Scraping


class Told(Scraper):
    """A scraper that was told what it knows."""

    def __init__(self, *statuses: Status) -> None:
        prefix = PrefixIndex()
        pool = Pool("p", "default", (Endpoint.at("10.0.0.1", 8000),))
        super().__init__(Columns(pool, prefix.slot), prefix, Scraping(), lambda: 0.0)
        self._statuses = statuses

    def statistics(self) -> ScrapeStatistics:
        """Return some."""
        return ScrapeStatistics(done=7, failed=2)

    def statuses(self) -> Iterator[Status]:
        """Return what it was told."""
        return iter(self._statuses)


def values(families: list[Metric]) -> dict[str, float]:
    """Return samples by their names and label values."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_age_engine_and_what_is_missing_are_shown_by_endpoint() -> None:
    """An endpoint that never answered has no age and no engine; pools are told apart."""
    report = Report(1, 2, None, 4096, missing=("a:kv", "a:info"))
    known = Status("10.0.0.1:8000", "vllm", "label", "H100", 1.23456, report)
    scrapers = {"default/p": Told(known, Status("10.0.0.2:8000")), "default/q": Told()}
    assert values(collect(lambda: scrapers)()) == {
        "igw_scrapes_total default/p done": 7,
        "igw_scrapes_total default/p failed": 2,
        "igw_scrapes_total default/q done": 7,
        "igw_scrapes_total default/q failed": 2,
        "llm_d_epp_datalayer_poll_errors_total metrics-data-source": 4,
        "igw_scrape_age_seconds default/p 10.0.0.1:8000": 1.235,
        "igw_engine_info default/p 10.0.0.1:8000 vllm label H100": 1,
        "igw_engine_kv_capacity_tokens default/p 10.0.0.1:8000": 4096,
        "igw_engine_metrics_missing default/p 10.0.0.1:8000 a:kv": 1,
        "igw_engine_metrics_missing default/p 10.0.0.1:8000 a:info": 1,
    }


def test_without_endpoints_there_are_families_without_series() -> None:
    """So that the page looks alike from the start."""
    families = collect(dict)()
    assert len(families) == 6
    assert [sample.value for family in families for sample in family.samples] == [0]
