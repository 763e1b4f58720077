"""The picker as a whole: what an edit of its configuration changes between two requests."""

from __future__ import annotations

from pathlib import Path

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.parsing.limits import Limits

CONFIG = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\n"


def test_a_configuration_says_which_parsers_read_requests(tmp_path: Path) -> None:
    """Without one all do; with one those that it names, under whatever name, or upstream's four. Limits are those of the flags."""
    path = tmp_path / "config.yaml"
    limits = Limits(depth=9)
    picker = Picker(PickerSettings(paths=(path,), body_limits=limits))

    def claims(config: str) -> list[bool]:
        path.write_text(config)
        picker.use(load([path]))
        apis = picker.extproc.apis
        assert apis.limits == limits
        return [apis.of(each) is not None for each in ("/v1/messages", "/generate", "/v1/completions")]

    assert claims(CONFIG) == [True, False, True]
    named = CONFIG.replace("}]", "}, {type: sglanghttp-parser, name: mine}]")
    assert claims(named + "requestHandler: {parsers: [{pluginRef: mine}]}\n") == [False, True, False]
    assert picker.extproc.apis.reads_all
    path.write_text("")
    picker.use(load([path]))
    assert all(picker.extproc.apis.of(each) for each in ("/v1/messages", "/generate", "/v1/completions"))
    assert not picker.extproc.apis.reads_all
