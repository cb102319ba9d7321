"""The manifests in docs/kubernetes: sound by Kubernetes' own schemas, and what they name exists."""

import re
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY

from benchmarks.speed.servers import Running
from bento.repository.models import Models
from bento.settings import Settings, read_settings, variable
from bento.traffic.metrics import metrics
from runtime.engines.cache import CACHE_VARIABLE
from runtime.limits import RUN_BYTES
from tests.bento.support import ROOT

FOLDER = ROOT / "docs" / "kubernetes"
FILES = {path.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
DOCUMENTS = [document for text in FILES.values() for document in yaml.safe_load_all(text)]
KUBERNETES = ("apps/v1", "v1", "policy/v1", "autoscaling/v2")
KSERVE_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
"""Of a predictor; the rest of it is a pod's."""

BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for document in DOCUMENTS if document["kind"] == kind]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The specification of the pods that the manifests make."""
    predictor = of_kind("InferenceService")["spec"]["predictor"]
    return {
        "Deployment": of_kind("Deployment")["spec"]["template"]["spec"],
        "InferenceService": {k: v for k, v in predictor.items() if k not in KSERVE_FIELDS},
    }


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {
        entry["name"]: entry.get("value", "a-secret-of-the-cluster") for entry in container["env"]
    }


both = pytest.mark.parametrize("kind", ["Deployment", "InferenceService"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d["kind"])
def test_manifests_are_sound(document: dict[str, Any]) -> None:
    if document["apiVersion"] in KUBERNETES:
        kubernetes_validate.validate(document, "1.37", strict=True)
    else:  # of others, whose schemas no package has
        assert document["apiVersion"] in ("keda.sh/v1alpha1", "serving.kserve.io/v1beta1")


@pytest.mark.parametrize("version", ["1.33", "1.37"])
@both
def test_pods_are_sound(kind: str, version: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pods()[kind]}
    kubernetes_validate.validate(pod, version, strict=True)
    pod["spec"] = {**pod["spec"], "securityContexts": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, version, strict=True)


@both
def test_variables_and_their_values_are_settings(kind: str, tmp_path: Path) -> None:
    (container,) = pods()[kind]["containers"]
    given = environment(container)
    assert {*given} <= {variable(name) for name in Settings.model_fields}
    assert given["LATENTSERVE_ARTIFACTS"] == "/artifacts"
    settings = read_settings({**given, "LATENTSERVE_ARTIFACTS": str(tmp_path)})
    limits = container["resources"]["limits"]
    number, unit = limits["memory"][:-2], limits["memory"][-2:]
    memory = int(number) * BINARY[unit]
    # As docs/sizing.md adds it up: ready, two runs, requests, a picture, a trial.
    runs = int(limits["cpu"]) * RUN_BYTES
    parts = (358_000_000, runs, settings.memory_bytes, 22 * settings.max_pixels)
    assert sum(parts) + settings.load_bytes < memory
    assert container["resources"]["requests"] == limits, "whole cores need them all"


@both
def test_a_pod_has_time_to_finish(kind: str, tmp_path: Path) -> None:
    pod = pods()[kind]
    (container,) = pod["containers"]
    settings = read_settings({**environment(container), "LATENTSERVE_ARTIFACTS": str(tmp_path)})
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving > 0
    assert pod["terminationGracePeriodSeconds"] >= leaving + settings.shutdown_seconds + 5


@both
def test_ports_and_paths_are_those_that_answer(kind: str, server: Running) -> None:
    (container,) = pods()[kind]["containers"]
    (port,) = container["ports"]
    assert container["args"][:3] == ["serve", "--host", "0.0.0.0"]  # noqa: S104 - in a pod
    assert container["args"][3:] == ["--port", str(port["containerPort"])]
    assert port["containerPort"] == 3000
    paths: set[str] = set()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in (port["name"], port["containerPort"])
        paths.add(asked["path"])
    assert paths == {"/livez", "/readyz"}, "those that need no key"
    annotations = of_kind("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    for path in (*paths, annotations["prometheus.io/path"]):
        assert httpx.get(f"{server.url}{path}").status_code == 200, path


@both
def test_only_what_is_written_is_writable(kind: str) -> None:
    pod = pods()[kind]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert mounts == {"/home/latentserve", "/tmp"}  # noqa: S108 - a pod's own
    assert environment(container)[CACHE_VARIABLE].startswith("/home/latentserve/")
    if (ROOT / "Dockerfile").exists():
        user = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
        assert user == [str(pod["securityContext"]["runAsUser"])]


def test_everything_is_about_the_same_pods() -> None:
    deployment = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    name, container = deployment["metadata"]["name"], pods()["Deployment"]["containers"][0]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Service")["spec"]["selector"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    (spread,) = pods()["Deployment"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    (service_port,) = of_kind("Service")["spec"]["ports"]
    assert service_port["targetPort"] == container["ports"][0]["name"]
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        assert of_kind(kind)["spec"]["scaleTargetRef"]["name"] == name
    (key,) = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
    assert f"secret generic {key['name']} --from-literal={key['key']}=" in FILES["latentserve.yaml"]


def test_metrics_that_are_scaled_by_exist(models: Models) -> None:
    metrics().observe_models(models, 0, 0)
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    for name in ("autoscaler.yaml", "keda.yaml"):
        named = set(re.findall(r"latentserve_\w+", FILES[name]))
        assert named
        assert named <= known


def test_what_kubernetes_says_of_services_is_no_setting() -> None:
    """As in a container of a cluster with the Services `latentserve` and `latentserve-canary`."""
    links = {
        "LATENTSERVE_SERVICE_HOST": "10.0.0.1",
        "LATENTSERVE_SERVICE_PORT": "80",
        "LATENTSERVE_SERVICE_PORT_HTTP": "80",
        "LATENTSERVE_PORT": "tcp://10.0.0.1:80",
        "LATENTSERVE_PORT_80_TCP": "tcp://10.0.0.1:80",
        "LATENTSERVE_PORT_80_TCP_PROTO": "tcp",
        "LATENTSERVE_PORT_80_TCP_PORT": "80",
        "LATENTSERVE_PORT_80_TCP_ADDR": "10.0.0.1",
        "LATENTSERVE_CANARY_SERVICE_HOST": "10.0.0.2",
        "LATENTSERVE_CANARY_PORT": "tcp://10.0.0.2:80",
    }
    assert read_settings(links) == read_settings({})
    for name in ("LATENTSERVE_PORT", "LATENTSERVE_HOST"):
        with pytest.raises(ValueError, match=f"{name} is no setting"):
            read_settings({name: "3000"})
