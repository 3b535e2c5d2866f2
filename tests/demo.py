"""`make demo`: the whole road on a fresh machine, told as it happens, with an account at the end.

From a table of data to predictions from a cluster, then what comes after the first day: a better version, a change of mind,
a rollback, all under a constant load of which no request may be lost. The cluster is left running.
"""

import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sklearn.datasets import load_breast_cancer

from tests.clusters.progress import Trouble, say, step
from tests.installation import CHECKOUT, Installation, install_mlflow, install_operator, load_images, start_cluster
from tests.kubernetes import CommandFailedError, Kubernetes, Object, until
from tests.traffic import Account, Traffic, traffic

NAMESPACE = "demo"
NAME = "first-model"  # of the resource and of the registered model; the README uses the sample's own name
SAMPLE = CHECKOUT / "manifests" / "samples" / "breast-cancer.yaml"
MLFLOW_PORT = 5000  # of its Service, and so of a forward that a person opens
RATE = 50  # requests per second
WATCHED_SECONDS = 10  # how long a person's undo is watched to stay


@dataclass
class Story:
    """What was done, and how long each step took."""

    steps: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        with step(title):
            yield
        self.steps.append((title, time.monotonic() - started))


def main() -> int:
    started = time.monotonic()
    story = Story()
    try:
        account = tell(story)
    except (Trouble, CommandFailedError, TimeoutError) as trouble:
        say(f"error: {trouble}")
        return 1
    summarize(story, account, time.monotonic() - started)
    return 0 if account.lost == 0 else 1


def tell(story: Story) -> Account:
    """The demo, step by step; what became of the requests."""
    with story.step("a Kubernetes cluster"):
        cluster = start_cluster()
    with story.step("the images of operator, server and MLflow"):
        names, keys = load_images(("server", "controller", "mlflow"))
    installation = Installation(cluster, names)
    with story.step("MLflow on the cluster"):
        install_mlflow(cluster, names)
    begin_anew(installation)
    with story.step("train a first version: 100 trees"):
        first = train(installation, "--trees", "100", "--max-depth", "10")
    with story.step("helm install of the operator"):
        install_operator(cluster, names, keys)
    with story.step(f"kubectl apply of ten lines (as in {SAMPLE.relative_to(CHECKOUT)}), until it is ready"):
        cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=SAMPLE.read_text().replace("breast-cancer", NAME))
        cluster.kubectl("wait", "-n", NAMESPACE, f"mdep/{NAME}", "--for=condition=Ready", "--timeout=180s")
    show(cluster)
    with story.step("a prediction"):
        say(f"    POST /predict answers {predict(cluster)}")
    with traffic(cluster, NAMESPACE, f"http://{NAME}/predict", example(), installation.server_image, RATE) as load:
        say(f"    from here on, {RATE} requests a second come through the Service")
        with story.step("train a second version, which moves the alias; the operator follows"):
            second = train(installation, "--trees", "50", "--max-depth", "5", "--seed", "7")
            answers_alone(cluster, second)
        show(cluster)
        with story.step(f"kubectl rollout undo: version {first} is back, and stays"):
            cluster.kubectl("rollout", "undo", f"deployment/{NAME}", "-n", NAMESPACE)
            answers_alone(cluster, first)
            stays(load, first)
        show(cluster)
        say(f"    {condition(cluster, 'Ready')['message']}")
        with story.step(f"go on: spec.model.version {second}"):
            ask_for(cluster, second)
            answers_alone(cluster, second)
        with story.step(f"rollback by version: spec.model.version {first}"):
            ask_for(cluster, first)
            answers_alone(cluster, first)
        show(cluster)
        say(cluster.kubectl("rollout", "history", f"deployment/{NAME}", "-n", NAMESPACE).rstrip())
        return load.finish()


def begin_anew(installation: Installation) -> None:
    """Forget an earlier demo on the same cluster."""
    installation.make_namespace(NAMESPACE)
    if "modeldeployments.mlserving.dev" in installation.cluster.kubectl("get", "crd", "-o", "name"):
        installation.cluster.kubectl("delete", "mdep", NAME, "-n", NAMESPACE, "--ignore-not-found", "--cascade=foreground")


def train(installation: Installation, *arguments: str) -> str:
    """Train and register a version that the alias points to; its number."""
    said = installation.train("--name", NAME, "--alias", "champion", *arguments)
    say("\n".join(f"    {line}" for line in lasting(said).splitlines()))
    with installation.mlflow() as address:
        url = f"{address}/api/2.0/mlflow/registered-models/alias?name={NAME}&alias=champion"
        with urllib.request.urlopen(url, timeout=30) as response:
            return str(json.load(response)["model_version"]["version"])


def lasting(said: str) -> str:
    """The links into MLflow as they work later: through the forward that the last lines of the demo give, not through ours."""
    return re.sub(r"http://127\.0\.0\.1:\d+/", f"http://127.0.0.1:{MLFLOW_PORT}/", said)


def example() -> dict[str, float]:
    """The features of a row of the table that the model was trained on."""
    table = load_breast_cancer()
    return {str(name): float(value) for name, value in zip(table.feature_names, table.data[0], strict=True)}


def predict(cluster: Kubernetes) -> str:
    """What the Service answers to a row of the table."""
    with cluster.forwarded(f"service/{NAME}", 80, NAMESPACE) as address:
        request = urllib.request.Request(
            f"{address}/predict", json.dumps(example()).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())


def ask_for(cluster: Kubernetes, version: str) -> None:
    patch = json.dumps({"spec": {"model": {"version": int(version), "alias": None}}})
    cluster.kubectl("patch", f"mdep/{NAME}", "-n", NAMESPACE, "--type=merge", "-p", patch)


def answers_alone(cluster: Kubernetes, version: str) -> None:
    """Wait until `version` is what serves, and Ready says so."""

    def seen() -> bool:
        status = resource(cluster).get("status", {})
        serving = status.get("serving", {}).get("version")
        return bool(serving == version and condition(cluster, "Ready")["status"] == "True")

    until(f"version {version} serves", seen, 180)


def stays(load: Traffic, version: str) -> None:
    """Watch for a while that every answer is of `version`, once the pods of the other one have said their last word."""
    until(f"answers of version {version} alone", lambda: set(answers(load, RATE)) == {version}, 60)
    others = answers(load, RATE * WATCHED_SECONDS)
    if set(others) != {version}:
        raise Trouble(f"version {version} did not stay: these answered: {others}")


def answers(load: Traffic, count: int) -> dict[str, int]:
    """The next `count` answers, by version."""
    before = load.account()

    def enough() -> Account | None:
        now = load.account()
        return now if now.answered >= before.answered + count else None

    after = until(f"{count} answers", enough, 60)
    more = {version: number - before.versions.get(version, 0) for version, number in after.versions.items()}
    return {version: number for version, number in more.items() if number}


def resource(cluster: Kubernetes) -> Object:
    return cluster.get("modeldeployment", NAME, NAMESPACE) or {}


def condition(cluster: Kubernetes, kind: str) -> Object:
    conditions = resource(cluster).get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {"status": "Unknown", "message": ""})


def show(cluster: Kubernetes) -> None:
    say(cluster.kubectl("get", "mdep", "-n", NAMESPACE).rstrip())


def summarize(story: Story, account: Account, seconds: float) -> None:
    versions = ", ".join(f"{count} by version {version}" for version, count in sorted(account.versions.items()))
    rows = "\n".join(f"  {took:7.1f} s  {title}" for title, took in story.steps)
    print(
        f"""
What was done, in {seconds:.0f} s
{rows}

Predictions: {account.sent} sent, {account.answered} answered ({versions}), {account.lost} lost
{"".join(f"  {failure}{chr(10)}" for failure in account.failures)}
Go on with it (the cluster runs until `make down`):
  export PATH=$PWD/.cluster/bin:$PWD/.venv/bin:$PATH KUBECONFIG=$PWD/.cluster/kubeconfig
  kubectl get mdep -A                                    # what serves
  kubectl describe mdep/{NAME} -n {NAMESPACE}             # why
  kubectl rollout history deployment/{NAME} -n {NAMESPACE}
  kubectl port-forward -n {NAMESPACE} service/{NAME} 8080:80  # then: open http://localhost:8080
  kubectl port-forward -n mlflow service/mlflow {MLFLOW_PORT}  # MLflow's own pages: the links above work while this runs
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
