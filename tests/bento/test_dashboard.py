"""The Grafana dashboard and the page on operations name metrics and labels that exist."""

import json
import re

from prometheus_client import REGISTRY

from bento.repository.models import Models
from bento.traffic.metrics import ModelObserver, metrics
from tests.bento.support import ROOT, Ask


def test_every_query_has_its_metric_and_labels(models: Models, ask: Ask) -> None:
    observer = ModelObserver("drawn")
    observer.taken("decode", 1, [0.1])
    observer.run("decode", 1, 0.1)
    observer.failed("decode", 1)
    observer.rejected("decode", 1, "cancelled")
    ask("POST", "/sample", json={"model": "tiny-plain", "seed": 1})
    metrics().observe_models(models, 1, 1)
    known = {
        sample.name: set(sample.labels)
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.startswith("latentserve_")
    }
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text("utf-8"))
    drawn: set[str] = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            (first, *others) = re.findall(r"latentserve_\w+", target["expr"])
            drawn |= {first, *others}
            labels = (
                set(re.findall(r"by \(([^)]*)\)", target["expr"])[0].split(", "))
                if (" by (" in target["expr"])
                else set()
            )
            assert first in known, first
            assert labels <= known[first], (panel["title"], labels, known[first])
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(latentserve_\w+)`", page, re.MULTILINE))
    bare = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in known}
    assert {name.removesuffix("_total") for name in listed} == bare
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in drawn} == bare
