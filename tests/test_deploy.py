"""`mmstream deploy check`: deploy/ as it is passes, and every kind of fault in a copy is told with file and line."""

from __future__ import annotations

import mmap
import shutil
import sys
from pathlib import Path

import pytest
import ray

from mmstream import __version__
from mmstream.commands.deploy import deploy
from mmstream.core import MmstreamError
from mmstream.deployment import examine, examine_file, facts_of, settings
from mmstream.deployment.facts import gather, image_fault
from mmstream.deployment.parts import read_parts
from mmstream.deployment.programs import command_faults, shell_faults, start_options

ROOT = Path(__file__).parent.parent
BESIDE = ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "pipeline.yaml", "mmstream", "operators")
SECRET = "'valueFrom: {secretKeyRef: ...}'"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of deploy/ with what stands beside it; problems name it as ``deploy/...``."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    for name in BESIDE:
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return Path("deploy")


def problems(folder: Path) -> list[str]:
    return [str(problem) for checked in examine(folder) for problem in checked.problems]


def change(folder: Path, name: str, old: str, new: str) -> int:
    """Put ``new`` in the place of the first ``old``; the line on which it begins."""
    file = folder / name
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def test_what_ships_passes(folder: Path) -> None:
    assert problems(folder) == []
    checked = {one.path: one.what for one in examine(folder)}
    assert checked["deploy/kuberay/cluster.yaml"] == "RayCluster, PodDisruptionBudget"
    assert checked["deploy/kuberay/job.yaml"] == "RayJob"
    assert checked["deploy/kuberay/rayservice.yaml"] == "RayService, Service, PodDisruptionBudget"
    assert checked["deploy/ray/onprem.yaml"] == checked["deploy/ray/aws.yaml"] == "cluster of `ray up`"
    assert checked["deploy/Dockerfile"] == "Dockerfile"
    assert checked["deploy/README.md"] == "commands shown"
    assert "no check" not in checked.values()


CLUSTER, JOB, STORAGE = "kuberay/cluster.yaml", "kuberay/job.yaml", "kuberay/storage.yaml"
SERVICE = "kuberay/rayservice.yaml"
COMPOSE, ONPREM, AWS = "compose.yaml", "ray/onprem.yaml", "ray/aws.yaml"


# A file, what is changed in it, what is said of that, and what stands on the line told where it is not the first of the
# changed ones (None: none is told).
FAULTS: list[tuple[str, ...] | tuple[str, str, str, str, None]] = [
    # The schemas.
    (CLUSTER, "maxReplicas: 8", "maxReplica: 8", "has no 'maxReplica'; did you mean 'maxReplicas'?"),
    (CLUSTER, "maxReplicas: 8", "maxReplicas: many", "'maxReplicas' must be an integer, not 'many'"),
    (CLUSTER, 'num-cpus: "0"', "num-cpus: 0", "'num-cpus' must be text, not 0"),
    (CLUSTER, "upscalingMode: Default", "upscalingMode: defualt", "did you mean 'Default'?"),
    (CLUSTER, "port: 52365}", "port: 99999}", "'port' cannot be 99999"),
    (CLUSTER, "memory: 12Gi}", "memory: 12GiB}", "'memory' cannot be '12GiB'"),
    (CLUSTER, "kind: RayCluster", "kind: RayClutser", "did you mean 'RayCluster'?"),
    (CLUSTER, "maxUnavailable: 1", "maxUnavailabel: 1", "has no 'maxUnavailabel'"),
    (CLUSTER, "  - groupName: cpu", "  - groupName: cpu\n      <<: *b", "the alias '*b' has no anchor", "<<: *b"),
    (STORAGE, "[ReadWriteMany]", "[ReadWriteAll]", "did you mean 'ReadWriteMany'?"),
    (JOB, "backoffLimit: 2", "backoffLimit: -1", "'backoffLimit' must be at least 0, not -1"),
    (COMPOSE, "interval: 10s", "interval: 10", "'interval' must be text, not 10"),
    (COMPOSE, "shm_size: 1gb", "shmsize: 1gb", "has no 'shmsize'; did you mean 'shm_size'?"),
    (ONPREM, "upscaling_speed", "upscaling_sped", "did you mean 'upscaling_speed'?"),
    (AWS, "max_workers: 12", "max_workers: dozen", "Ray refuses this: 'dozen' is not of type 'integer'"),
    # What readers of YAML 1.1 take for something else.
    (CLUSTER, '{name: RAY_worker_niceness, value: "0"}', "{name: RAY_worker_niceness, value: no}", "not false"),
    # Versions.
    (CLUSTER, 'rayVersion: "2.60.0"', 'rayVersion: "2.50.0"', "but constraints.txt has 2.60.0"),
    (CLUSTER, "image: mmstream:0.1.0", "image: mmstream:latest", "moves: name a version instead of 'latest'"),
    (CLUSTER, "image: mmstream:0.1.0", "image: mmstream", "names no version"),
    (COMPOSE, "image: mmstream:0.1.0", "image: mmstream:0.0.9", "is not of this version of mmstream"),
    (AWS, "head_image: mmstream:0.1.0", "head_image: mmstream", "names no version"),
    ("Dockerfile", "FROM python:${PYTHON} AS build", "FROM python:latest AS build", "instead of 'latest'"),
    ("Dockerfile", "RUN pip install --no-cache-dir --only-binary=:all: --no-deps nvidia",
     "RUN pip install numpy==1.0 nvidia", "numpy==1.0: constraints.txt has"),
    ("Dockerfile", "--prefix=/install --constraint constraints.txt", "--prefix=/install", "no version is pinned"),
    # Rights, secrets, limits, health.
    (CLUSTER, "runAsUser: 1000", "runAsUser: 0", "the pod must not run as root"),
    (CLUSTER, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "'allowPrivilegeEscalation: "),
    (CLUSTER, "{drop: [ALL]}", "{drop: [NET_RAW]}", "'capabilities: {drop: [ALL]}'"),
    (CLUSTER, "valueFrom: {secretKeyRef: {name: mmstream-hub, key: token, optional: true}}", "value: abc", SECRET),
    (CLUSTER, "authOptions: {mode: token}", "authOptions: {mode: disabled}", "can run code on it"),
    (CLUSTER, 'limits: {cpu: "2", memory: 4Gi}', 'limits: {cpu: "2"}', "needs limits of memory"),
    (CLUSTER, "path: /api/healthz, port: 52365", "path: /healthz, port: 52365", "does not answer /healthz"),
    (CLUSTER, "          livenessProbe: &alive", "          startProbe: &alive", "has no 'startProbe'"),
    (COMPOSE, "127.0.0.1:8265:8265", "8265:8265", "is open to everybody"),
    (COMPOSE, "HF_TOKEN: ${HF_TOKEN:-}", "HF_TOKEN: abc", "HF_TOKEN is a secret"),
    (COMPOSE, 'limits: {cpus: "2", memory: 4g}', 'limits: {cpus: "2"}', "deploy.resources.limits of memory"),
    (COMPOSE, "RAY_AUTH_MODE: token", "RAY_AUTH_MODE: disabled", "can run code on it"),
    (ONPREM, "--env=RAY_AUTH_MODE=token", "--env=RAY_AUTH_TOKEN=abc", "it must not stand in a file"),
    ("Dockerfile", "MMSTREAM_HOME=/models", "HF_TOKEN=abc", "it must not be in an image", "ENV HOME"),
    ("Dockerfile", "USER 1000\nWORKDIR", "USER root\nWORKDIR", "runs as root"),
    ("Dockerfile", "HEALTHCHECK --interval", "LABEL --interval", "'cpu' has no HEALTHCHECK", "AS cpu"),
    ("Dockerfile", 'CMD ["mmstream", "--help"]', "CMD mmstream --help", "CMD must be a list"),
    ("Dockerfile", "r.urlopen('http", "r.urlopen(('http", "python -c: invalid syntax", "HEALTHCHECK --interval"),
    # Variables.
    (CLUSTER, "RAY_health_check_period_ms", "RAY_health_check_perod_ms", "mean 'RAY_health_check_period_ms'?"),
    (COMPOSE, 'RAY_worker_niceness: "0"', 'RAY_worker_niceness: "15"', "must be '0' on every node, not '15'"),
    (CLUSTER, "MMSTREAM_CLUSTER_GROWS", "MMSTREAM_HOME", "the head of a cluster that grows", "enableInTree"),
    (AWS, "--env=MMSTREAM_CLUSTER_GROWS=1", "--rm", "a cluster that grows needs", "run_options:"),
    (AWS, "RAY_worker_niceness=0", "RAY_worker_nicenes=0", "nothing reads the variable 'RAY_worker_nicenes'"),
    ("Dockerfile", "OMP_NUM_THREADS=1", "OMP_THREADS=1", "did you mean 'OMP_NUM_THREADS'?", "ENV HOME"),
    # Commands.
    (JOB, "--executor ray", "--exekutor ray", "No such option: --exekutor", "entrypoint: >-"),
    (JOB, "mmstream transcribe", "mmstream transscribe", "did you mean 'transcribe'?", "entrypoint: >-"),
    (JOB, "/opt/mmstream/pipeline.cluster.yaml", "/opt/pipeline.yaml", "no file '/opt/pipeline.yaml'",
     "entrypoint: >-"),
    (COMPOSE, "--sessions 8", "--sessions none", "Invalid value for '--sessions'", "  live:\n|command: >-"),
    (COMPOSE, "ray start --address=head:6379", "rey start --address=head:6379", "the image has no 'rey'"),
    (COMPOSE, "ray job submit --address", "ray job send --address", "ray job has no command 'send'",
     "  batch:\n|command: >-"),
    (CLUSTER, 'rayStartParams: {num-cpus: "0"}', 'rayStartParams: {num-cpu: "0"}', "did you mean 'num-cpus'?"),
    (ONPREM, "--metrics-export-port=8080 --num", "--metric-port=8080 --num", "No such option '--metric-port'",
     "- >-"),
    (ONPREM, "ray up deploy/ray/onprem.yaml", "ray up deploy/onprem.yaml", "no file 'deploy/onprem.yaml'"),
    (AWS, "boto3==1.44.5", "numpy==1.0", "numpy==1.0: constraints.txt has"),
    ("README.md", "mmstream deploy check", "mmstream deploy chekc", "did you mean 'check'?"),
    ("README.md", "create -f deploy/kuberay/job.yaml", "create -f deploy/jobs.yaml", "no 'deploy/jobs.yaml'"),
    # What the files say of each other.
    (CLUSTER, "claimName: mmstream-models", "claimName: mmstream-model", "did you mean 'mmstream-models'?"),
    (CLUSTER, "{name: models, mountPath", "{name: model, mountPath", "the pod has no volume 'model'"),
    (CLUSTER, "ray.io/node-type: worker}", "ray.io/node-type: workers}", "no pod of a cluster here has the labels"),
    (CLUSTER, "replicas: 2", "replicas: 9", "from minReplicas (2) to maxReplicas (8), not 9"),
    (CLUSTER, "image: mmstream:0.1.0-cuda", "image: mmstream:0.1.0", "needs the image with CUDA"),
    (AWS, '"mmstream:0.1.0-cuda"', '"mmstream:0.1.0"', "machines with a GPU need the image with CUDA"),
    (AWS, "head_node_type: head", "head_node_type: boss", "`head_node_type` must be one of"),
    (COMPOSE, "depends_on: {head:", "depends_on: {haed:", "there is no service 'haed'"),
    (COMPOSE, "target: cpu", "target: gpu", "the Dockerfile has no stage 'gpu'; did you mean 'cpu'?"),
    (COMPOSE, "./prometheus.yaml:", "./prometheus.yml:", "there is no './prometheus.yml' beside the file"),
    (COMPOSE, "  models: {}", "  model: {}", "'volumes' names no 'models'", "  - models:/models"),
    ("compose.gpu.yaml", "mmstream:0.1.0-cuda\n    deploy", "mmstream:cuda\n    deploy", "is not of this version"),
    ("Dockerfile", "COPY operators operators", "COPY operator operators", "there is no 'operator' in the repository"),
    ("Dockerfile", "COPY --from=build", "COPY --from=built", "there is no stage 'built'"),
    ("Dockerfile.dockerignore", "!operators", "!operator", "lets 'operator' through, which is not there", None),
    # What is served.
    (SERVICE, "deployment:app", "deployment:ap", "no 'mmstream.server.deployment:ap' to import", "serveConfigV2"),
    (SERVICE, "token_file: /sec", "tokenfile: /sec", "token_file: Field required", "serveConfigV2"),
    (SERVICE, "sessions: 64", "sessions: 0", "sessions: Input should be greater than or equal to 1", "serveConfigV2"),
    (SERVICE, "token_file: /secrets", "token_file: /secret", "no container mounts a volume where", "serveConfigV2"),
    (SERVICE, "/opt/mmstream/pipeline", "/opt/pipeline", "no file '/opt/pipeline.cluster.yaml'", "serveConfigV2"),
    (SERVICE, "0.0.0.0, port: 8000", "0.0.0.0, port: 8100", "no container opens the port 8100", "serveConfigV2"),
    (SERVICE, "EveryNode", "EveryNodes", "Ray Serve refuses this: proxy_location", "serveConfigV2"),
    (SERVICE, "{name: mmstream, ray_", "{name: mstream, ray_", "no deployment 'mstream'", "serveConfigV2"),
    (SERVICE, "targetPort: serve", "targetPort: server", "no container of its pods opens the port 'server'"),
    (SERVICE, "component: ingress}\n  ports", "component: in}\n  ports", "no pod of a cluster here has the labels"),
    (SERVICE, "type: ClusterIP", "type: ClusterIp", "did you mean 'ClusterIP'?"),
    (SERVICE, "path: /-/healthz", "path: /healthz", "does not answer /healthz on port 8000"),
    (CLUSTER, "path: /api/healthz, port: 52365", "path: /-/healthz, port: 8000", "does not answer /-/healthz"),
    # Other files.
    ("pipeline.gpu.yaml", "standby: 1", "standbye: 1", "did you mean 'standby'?"),
    ("grafana/mmstream.json", "{", "{,", "not JSON"),
    ("prometheus.yaml", "scrape_configs:", "\tscrape_configs:", "YAML indents with spaces"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said", "at"), [(*fault, "")[:5] for fault in FAULTS])
def test_a_fault_is_told_with_its_place(folder: Path, name: str, old: str, new: str, said: str, at: str | None) -> None:
    line = change(folder, name, old, new)
    checked = examine_file(folder / name, facts_of(folder))
    told = [problem for problem in checked.problems if said in problem.message]
    assert told, [str(problem) for problem in checked.problems]
    assert told[0].path == f"deploy/{name}"
    if at is None:
        assert told[0].line == 0
        return
    text = (folder / name).read_text()
    place = 0
    for mark in at.split("|") if at else []:
        place = text.index(mark, place)
    assert told[0].line == (text[:place].count("\n") + 1 if at else line)


def test_a_service_whose_application_is_not_there_is_refused(folder: Path) -> None:
    text = (folder / CLUSTER).read_text().split("---")[0]
    spec = text.partition("spec:\n")[2].replace("\n", "\n  ")
    path = folder / "kuberay" / "service.yaml"
    head = "apiVersion: ray.io/v1\nkind: RayService\nmetadata: {name: live}\nspec:\n  serveConfigV2: |\n"
    for application, fault in (
        ("mmstream.no_such:app", True),
        ("mmstream.cli:no_app", True),
        ("mmstream.cli:app", False),
    ):
        config = f"    applications:\n      - {{name: live, import_path: {application}}}\n"
        path.write_text(f"{head}{config}  rayClusterConfig:\n  {spec}\n")
        found = problems(folder)
        assert found == ([f"deploy/kuberay/service.yaml:5: there is no '{application}' to import"] if fault else [])


def test_ray_itself_refuses_a_cluster_that_it_cannot_scale(folder: Path) -> None:
    change(folder, CLUSTER, "  rayVersion", "  # CPUs that are no number\n  rayVersion")
    change(folder, CLUSTER, 'rayStartParams: {num-cpus: "0"}', 'rayStartParams: {resources: "no JSON"}')
    assert [problem for problem in problems(folder) if "Ray's autoscaler refuses the cluster" in problem]


def test_the_command_says_a_line_for_each_file_and_fails_on_a_fault(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(examine(folder))
    assert all(": ok (" in line for line in lines)
    line = change(folder, CLUSTER, "rayVersion", "rayVersoin")
    assert run("check", "deploy") == 1
    said = capsys.readouterr().out
    assert f"deploy/kuberay/cluster.yaml:{line}: 'spec' has no 'rayVersoin'; did you mean 'rayVersion'?" in said
    assert "deploy/kuberay/cluster.yaml: ok" not in said


def run(*words: str) -> int:
    sys.argv = ["deploy", *words]
    with pytest.raises(SystemExit) as end:
        deploy()
    return int(end.value.code or 0)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MmstreamError, match="no such folder"):
        examine(tmp_path / "deploy")
    (tmp_path / "deploy").mkdir()
    with pytest.raises(MmstreamError, match=r"no constraints\.txt beside it"):
        examine(tmp_path / "deploy")


def test_every_variable_of_ray_is_one_that_this_ray_reads() -> None:
    """Entries of Ray's configuration are in its compiled part, without RAY_; the others in its Python."""
    package = Path(ray.__file__).parent
    named = {name for name in settings.RAYS if name.removeprefix("RAY_").islower()}
    with (package / "_raylet.so").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as compiled:
        wanted = {name: name.removeprefix("RAY_") if name in named else name for name in settings.RAYS}
        absent = [name for name, text in wanted.items() if compiled.find(text.encode()) < 0]
    sources = ["serve/_private/constants.py", "_common/usage/usage_constants.py"]
    text = "\n".join((package / source).read_text() for source in sources)
    assert [name for name in absent if name in named or f'"{name}"' not in text] == []


def test_our_own_variables_are_read() -> None:
    text = "\n".join(file.read_text() for file in (ROOT / "mmstream").rglob("*.py") if "deployment" not in file.parts)
    assert [name for name in settings.OURS if f'"{name}"' not in text] == []


def test_documents_of_one_file_keep_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("# none\n---\na: 1\n---\nb:\n  - on\n  - 'on'\n  - 1.5\n")
    parts, faults = read_parts(file, "two.yaml")
    assert [part.content for part in parts] == [{"a": 1}, {"b": [True, "on", 1.5]}]
    assert str(parts[1].problem(("b", 1), "here")) == "two.yaml:7: here"
    assert str(parts[1].problem(("b", "missing"), "here")) == "two.yaml:5: here"
    assert faults == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ulimit -n 65536; ray start --address=$RAY_HEAD_IP:6379", ""),
        ("ray stop && rsync a b", "the image has no 'rsync'"),
        ("ray job submit --address=http://head:8265 -- mmstream run --no", "No such option: --no"),
        ("mmstream --help", ""),
        ("mmstream models show", "Missing argument"),
        ("mmstream 'run", "not a command line"),
    ],
)
def test_command_lines_are_read_as_the_shell_and_the_programs_do(text: str, said: str) -> None:
    found = shell_faults(text, gather(ROOT / "deploy"))
    assert found == [] if not said else said in " ".join(found)


def test_an_address_with_a_port_is_no_version() -> None:
    assert image_fault(f"registry.example:5000/mmstream:{__version__}") is None
    assert "names no version" in str(image_fault("registry.example:5000/mmstream"))


def test_ray_start_has_the_options_that_kuberay_gives_it() -> None:
    assert {"num-cpus", "dashboard-host", "metrics-export-port", "block"} <= start_options()
    assert command_faults(["ray", "start", "--head", "--block"], gather(ROOT / "deploy")) == []
