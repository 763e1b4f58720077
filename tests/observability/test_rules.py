"""The alert rules by the clock: each fires when its fault has lasted long enough, alone, and not otherwise. `promtool` has the clock."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.observability.files import RULES, alerts, needs_prometheus, program

_LONG = 60
"""Minutes after which nothing that has not fired will."""
BASE = 'namespace="serving", job="epp"'
ALWAYS = {f"igw_reservations_open{{{BASE}}}": "0x1000"}
_SLO = f'{BASE}, inference_pool="serving/llama", objective="", model_name="m", of="ttft"'
_REQUEST = f'{BASE}, model_name="m", target_model_name="m", fairness_id="default-flow", priority="0"'
_POOL = f'{BASE}, name="llama"'
_PLACE = f'{BASE}, name="serving/llama", endpoint="10.0.0.1:8000"'
_QUEUE = f'{BASE}, priority="0", inference_pool="serving/llama"'


class Case(msgspec.Struct, frozen=True):
    """A fault that begins at minute 0 (or is there from then on), and what it looks like when all is well. Series are `promtool`'s."""

    fault: Mapping[str, str]
    well: Mapping[str, str]
    minute: int
    """When it fires; a minute before it does not."""


def _slo(missed: str) -> dict[str, str]:
    """Return 100 attained requests a minute and *missed* ones."""
    return {
        f'igw_slo_requests_total{{{_SLO}, result="attained"}}': "0+100x1000",
        f'igw_slo_requests_total{{{_SLO}, result="missed"}}': missed,
        f"igw_slo_target_ratio{{{_SLO}}}": "0.99x1000",
    }


def _histogram(name: str, labels: str, *, slow: bool, least: str, most: str) -> dict[str, str]:
    """Return ten observations a minute, all of them within *least*, or all between that and *most*."""
    return {
        f'{name}_bucket{{{labels}, le="{least}"}}': "0x1000" if slow else "0+10x1000",
        f'{name}_bucket{{{labels}, le="{most}"}}': "0+10x1000",
        f'{name}_bucket{{{labels}, le="+Inf"}}': "0+10x1000",
    }


def _late(name: str, labels: str, least: str, most: str, minute: int) -> Case:
    return Case(
        _histogram(name, labels, slow=True, least=least, most=most),
        _histogram(name, labels, slow=False, least=least, most=most),
        minute,
    )


def _gauge(series: str, fault: str, well: str, minute: int) -> Case:
    return Case({series: f"{fault}x1000"}, {series: f"{well}x1000"}, minute)


def _errors(code: str) -> dict[str, str]:
    """Return ten requests a minute, one of them in error."""
    return {
        f'llm_d_epp_request_error_total{{{_REQUEST}, error_code="{code}"}}': "0+1x1000",
        f"llm_d_epp_request_total{{{_REQUEST}}}": "0+10x1000",
    }


def _queued(outcome: str) -> dict[str, str]:
    """Return ten requests a minute that got their place, and one that did not."""
    return {
        f'llm_d_epp_flow_control_requests_total{{{_QUEUE}, outcome="Dispatched"}}': "0+10x1000",
        f'llm_d_epp_flow_control_requests_total{{{_QUEUE}, outcome="{outcome}"}}': "0+1x1000",
    }


CASES: dict[str, Case] = {
    # A fifth of all requests misses: 20 times what an objective of 99 % allows.
    "IgwSloBurnsFast": Case(_slo("0+25x1000"), _slo("0+1x1000"), 3),
    # 8 times: too little for the fast one.
    "IgwSloBurnsSlowly": Case(_slo("0+9x1000"), _slo("0+5x1000"), 16),
    "IgwPickerAbsent": Case({}, {}, 2),
    "IgwNoReadyEndpoints": _gauge(f"llm_d_epp_ready_endpoints{{{_POOL}}}", "0", "1", 1),
    "IgwErrorRateHigh": Case(_errors("ModelServerError"), _errors("BadRequest"), 6),
    "IgwEndpointsEjected": _gauge(f"igw_endpoints_ejected{{{_PLACE.partition(', endpoint')[0]}}}", "1", "0", 10),
    "IgwEndpointSilent": _gauge(f"igw_scrape_age_seconds{{{_PLACE}}}", "45", "0.5", 2),
    "IgwReservationsExpire": Case(
        {f"igw_reservations_expired_total{{{BASE}}}": "0x4 1x1000"},
        {f"igw_reservations_expired_total{{{BASE}}}": "7x1000"},
        5,
    ),
    "IgwTtftHigh": _late("llm_d_epp_request_ttft_seconds", f'{_REQUEST}, streaming="true"', "8", "15", 6),
    "IgwTimePerTokenHigh": _late("llm_d_epp_request_streaming_tpot_seconds", _REQUEST, "0.5", "0.6", 6),
    "IgwPickerSlow": _late("llm_d_epp_scheduler_e2e_duration_seconds", BASE, "0.05", "0.1", 6),
    "IgwEngineQueuesLong": _gauge(f"llm_d_epp_average_queue_size{{{_POOL}}}", "51", "50", 5),
    "IgwKvCacheFull": _gauge(f"llm_d_epp_average_kv_cache_utilization{{{_POOL}}}", "0.91", "0.9", 5),
    "IgwPoolSaturated": _gauge(
        f'llm_d_epp_flow_control_pool_saturation{{{BASE}, inference_pool="serving/llama", stage="effective"}}', "1", "0.99", 10
    ),
    "IgwQueueTurnsAway": Case(_queued("EvictedTTL"), _queued("EvictedContextCancelled"), 6),
    "IgwConfigRefused": Case(
        {f'igw_config_reloads_total{{{BASE}, result="refused"}}': "_x4 1x1000"},
        {f'igw_config_reloads_total{{{BASE}, result="applied"}}': "_x4 1x1000"},
        4,
    ),
    "IgwObjectsRefused": _gauge(f'igw_objects_refused{{{BASE}, kind="InferencePool"}}', "1", "0", 15),
    "IgwWatchClosed": _gauge(f'igw_watch_open{{{BASE}, resource="pods"}}', "0", "1", 5),
    "IgwPluginFails": Case(
        {f'igw_plugin_failures_total{{{BASE}, plugin_type="t", plugin_name="p", reason="late"}}': "0+1x1000"},
        {f'igw_plugin_failures_total{{{BASE}, plugin_type="t", plugin_name="p", reason="late"}}': "3x1000"},
        11,
    ),
    "IgwEngineMetricsMissing": _gauge(f'igw_engine_metrics_missing{{{_PLACE}, metric="KVCacheUsagePercent"}}', "1", "0", 15),
    "IgwExactPrefixDoubtful": _gauge(
        f'igw_exact_prefix_doubts{{{BASE}, plugin_name="p", kind="silent", endpoint="10.0.0.1:8000"}}', "1", "0", 15
    ),
    "IgwShadowOff": _gauge(f'igw_shadow_active{{{BASE}, policy="other"}}', "0", "1", 0),
}  # fmt: skip
"""By alert; values are one a minute."""


def test_every_alert_has_a_case() -> None:
    """A new one without would be one of which nobody knows whether it can fire."""
    assert set(CASES) == set(alerts())


def test_every_alert_says_what_is_wrong_and_how_much_it_matters() -> None:
    """In a sentence, with what to do."""
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert set(rule["annotations"]) == {"summary", "description"}, name


def _firing(test: Mapping[str, Any], minute: int, *alerts: str) -> dict[str, Any]:
    """Return a test of `promtool`: these alerts fire at *minute*, and no others."""
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    every = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in test.items()],
        "promql_expr_test": [{"expr": every, "eval_time": f"{minute}m", "exp_samples": samples}],
    }


@needs_prometheus
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_its_fault_has_lasted(alert: str, tmp_path: Path) -> None:
    """Alone; not a minute before; and never while all is well."""
    case = CASES[alert]
    always = {} if alert == "IgwPickerAbsent" else ALWAYS
    tests = [_firing(always | case.fault, case.minute, alert), _firing(ALWAYS | case.well, _LONG)]
    if case.minute:
        tests.append(_firing(always | case.fault, case.minute - 1))
    written = tmp_path / "tests.yaml"
    written.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        [str(program("promtool")), "test", "rules", str(written)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_rules_are_rules() -> None:
    """As Prometheus reads them, with nothing that its linter would remark on."""
    done = subprocess.run(
        [str(program("promtool")), "check", "rules", "--lint=all", "--lint-fatal", str(RULES)], capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b26 rules found", done.stdout), done.stdout
