"""Metric families of scraping, read from scrapers whenever the metrics page is asked for. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from igw.scheduling.wiring import SOURCE
from igw.scraping.scraper import Scraper
from igw.telemetry.exposition import Gauge


def collect(scrapers: Callable[[], Mapping[str, Scraper]]) -> Callable[[], list[Metric]]:
    """Return what reads *scrapers*, by their pools' keys."""

    def read() -> list[Metric]:
        return families(scrapers())

    return read


def families(scrapers: Mapping[str, Scraper]) -> list[Metric]:
    """Return how old what we know is, from which engines we have it, and what they do not tell."""
    labels = ("name", "endpoint")
    total = CounterMetricFamily(
        "igw_scrapes_total",
        "Metrics pages of model servers, by result (done, failed).",
        labels=("name", "result"),
    )
    errors = CounterMetricFamily(
        "llm_d_epp_datalayer_poll_errors_total",
        "Metrics pages that could not be had or read.",
        labels=("source_type",),
    )
    age = Gauge(
        "igw_scrape_age_seconds", "Since an endpoint last said something; none if it never did.", labels
    )
    engine = Gauge(
        "igw_engine_info",
        "Which engine an endpoint is, and what said so.",
        (*labels, "engine", "chosen_by", "accelerator"),
    )
    capacity = Gauge("igw_engine_kv_capacity_tokens", "KV memory of an endpoint, as it says.", labels)
    missing = Gauge(
        "igw_engine_metrics_missing", "1 for what an engine should tell and does not.", (*labels, "metric")
    )
    failed = 0
    for key, scraper in scrapers.items():
        now = scraper.statistics()
        failed += now.failed
        total.add_metric((key, "done"), now.done)
        total.add_metric((key, "failed"), now.failed)
        for each in scraper.statuses():
            place = (key, each.endpoint)
            if each.age_seconds is not None:
                age.add(place, round(each.age_seconds, 3))
            if each.report is None:
                continue
            engine.add((*place, each.engine, each.chosen_by, each.accelerator), 1)
            if each.report.kv_capacity_tokens:
                capacity.add(place, each.report.kv_capacity_tokens)
            for metric in each.report.missing:
                missing.add((*place, metric), 1)
    errors.add_metric((SOURCE,), failed)
    return [total, errors, age.metric, engine.metric, capacity.metric, missing.metric]
