"""The scripts of tpu_scripts: what they print in a dry run, refuse, and do to a made-up cloud."""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.made_up_cloud import HOSTS, REPOSITORY, SETTINGS, Cloud

FOLDER = REPOSITORY / "tpu_scripts"
FILES = sorted(FOLDER.glob("*.sh"))
COMMANDS = [path.name for path in FILES if os.access(path, os.X_OK)]
CONFIG = "configs/distil_whisper.yaml"
GOLDEN = REPOSITORY / "tests" / "golden" / "tpu_scripts.txt"
DRY_RUNS = (
    "create.sh",
    "install.sh",
    f"launch.sh {CONFIG} train.batch_size=1024",
    "follow.sh",
    "follow.sh all",
    "stop.sh",
    f"resume.sh {CONFIG} train.batch_size=1024",
    "delete.sh",
    "gke.sh create",
    "gke.sh image",
    f"gke.sh launch {CONFIG} train.batch_size=1024",
    "gke.sh list",
    "gke.sh follow",
    "gke.sh stop",
    "gke.sh delete",
    f"slurm_gpu.sh {CONFIG} train.batch_size=1024",
)


@pytest.fixture
def cloud(tmp_path: Path):
    made_up = Cloud(tmp_path)
    yield made_up
    made_up.write("end", "0")  # what still runs on a host ends by itself


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("waited 10 seconds in vain")


@pytest.fixture
def launched(cloud: Cloud) -> Cloud:
    """A slice on which a run is going on."""
    for script in ("create.sh", "install.sh"):
        assert cloud.on_shared(script).returncode == 0
    done = cloud.on_shared("launch.sh", CONFIG, "name=a b; echo $HOME 'c'")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(cloud.logs) == len(HOSTS) and all(cloud.logs))
    return cloud


def test_dry_runs_print_what_the_golden_file_says(cloud: Cloud):
    """UPDATE_GOLDEN=1 writes the file anew."""
    text = ""
    for line in DRY_RUNS:
        done = cloud.run(*line.split(), "--dry-run")
        assert (done.returncode, done.stderr) == (0, ""), line
        text += f"$ {line} --dry-run\n{done.stdout}\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
    assert {line.split()[0] for line in DRY_RUNS} == set(COMMANDS)
    assert not cloud.lines("calls")


def test_shellcheck_finds_nothing():
    beside_python = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    # -x with SCRIPTDIR reads what a script sources from beside it.
    whole = [beside_python or "shellcheck", "-x", "--source-path=SCRIPTDIR", *FILES]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(FILES) > len(COMMANDS) == len({line.split()[0] for line in DRY_RUNS})
    assert all(path.read_text(encoding="utf-8").count("\n") < 100 for path in FILES)


@pytest.mark.parametrize("script", COMMANDS)
def test_help_says_how(cloud: Cloud, script: str):
    done = cloud.run(script, "--help", PROJECT="")
    assert done.returncode == 0
    for word in ("usage:", "example:", "settings:", script, "[--dry-run]"):
        assert word in done.stdout
    assert "set -euo" not in done.stdout


MISSING = [
    *(
        (script, name)
        for script in COMMANDS
        if script != "slurm_gpu.sh"
        for name in ("PROJECT", "NAME")
    ),
    ("create.sh", "ACCELERATOR"),
    ("install.sh", "PACKAGE"),
    ("launch.sh", "SHARED"),
    ("gke.sh", "CLUSTER"),
    ("slurm_gpu.sh", "VENV"),
]


def words_of(script: str) -> list[str]:
    """The words of its first dry run."""
    return next(line for line in DRY_RUNS if line.startswith(script)).split()[1:]


@pytest.mark.parametrize("script, name", MISSING)
def test_a_missing_setting_is_named_with_an_example(cloud: Cloud, script: str, name: str):
    done = cloud.run(script, *words_of(script), **{name: ""})
    assert done.returncode == 2
    assert f"{name} is not set; for example: export {name}=" in done.stderr
    assert not cloud.lines("calls")


WRONG = [
    ("create.sh", "NAME", "a; rm -rf x"),
    ("create.sh", "NAME", "Distil"),
    ("create.sh", "PROJECT", "$(id)"),
    ("create.sh", "ZONE", "us-west4"),
    ("create.sh", "ACCELERATOR", "v5e-16"),
    ("install.sh", "SHARED", "mnt/shared"),
    ("install.sh", "SHARED", "/mnt/my disk"),
    ("install.sh", "FILESTORE", "10.0.0.2"),
    ("gke.sh", "CLUSTER", "-x"),
    ("gke.sh", "INSTANCE", "a b"),
]


@pytest.mark.parametrize("script, name, value", WRONG)
def test_a_wrong_setting_is_refused(cloud: Cloud, script: str, name: str, value: str):
    done = cloud.run(script, *words_of(script), **{name: value})
    assert done.returncode == 2
    assert f"{name}: got '{value}', expected something like " in done.stderr
    assert not cloud.lines("calls")


@pytest.mark.parametrize(
    "line, message",
    [
        ("delete.sh", "This deletes distil-16 in us-west4-a of my-project. If that is meant, say"),
        ("gke.sh delete", "This deletes the cluster distil in us-west4-a of my-project."),
        ("create.sh --dryrun", "got '--dryrun', which this script does not take"),
        ("delete.sh --yes now", "got 'now', which this script does not take"),
        ("gke.sh stop everything", "got 'everything', which this script does not take"),
        ("gke.sh", "expected create, image, launch, list, follow, stop or delete"),
        ("follow.sh first", "got 'first', expected the number of a worker, or all"),
        ("launch.sh", "which config?"),
        ("launch.sh configs/none.yaml", "no config at 'configs/none.yaml' on this machine"),
        ("slurm_gpu.sh configs/none.yaml", "no config at 'configs/none.yaml'"),
        (f"slurm_gpu.sh {CONFIG}", "no distil-jax in /mnt/shared/venv/bin"),
    ],
)
def test_wrong_usage_does_nothing(cloud: Cloud, line: str, message: str):
    done = cloud.run(*line.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert not cloud.lines("calls")


def test_create_asks_once_and_says_what_it_waits_for(cloud: Cloud):
    done = cloud.run("create.sh")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "distil-16 is WAITING_FOR_RESOURCES",
        "distil-16 is PROVISIONING",
        "distil-16 is ACTIVE",
    ]
    assert cloud.run("create.sh").returncode == 0
    assert len(verbs(cloud, "create")) == 1


def verbs(cloud: Cloud, verb: str) -> list[str]:
    """The calls of gcloud with this verb."""
    return [call for call in cloud.lines("calls") if call.split()[3] == verb]


def test_create_does_not_wait_for_what_will_not_come(cloud: Cloud):
    cloud.write("states", "PROVISIONING\nFAILED")
    done = cloud.run("create.sh")
    assert done.returncode == 1
    assert "distil-16 is FAILED and will not become ACTIVE; resume.sh" in done.stderr


@pytest.mark.parametrize("script", ["create.sh", "resume.sh"])
def test_a_cloud_that_does_not_answer_is_not_an_absent_slice(cloud: Cloud, script: str):
    cloud.write("down", "")
    done = cloud.run(script, *words_of(script))
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert {call.split()[3] for call in cloud.lines("calls")} == {"list"}


def test_install_reaches_every_host_and_mounts_once(cloud: Cloud):
    cloud.run("create.sh")
    for _ in range(2):
        assert cloud.on_shared("install.sh").returncode == 0
    calls = cloud.lines("host_calls")
    assert calls.count(f"sudo mount -t nfs -o hard 10.0.0.2:/share {cloud.shared}") == len(HOSTS)
    installs = [call for call in calls if call.startswith("uv pip install")]
    assert len(installs) == 2 * len(HOSTS)
    assert all(
        call.endswith(" distil_jax[tpu] @ git+https://example.org/distil_jax@v1")
        for call in installs
    )


def test_a_failed_installation_is_no_wrong_usage(cloud: Cloud):
    """So that `resume.sh --watch` tries again when the network was away."""
    cloud.write("states", "ACTIVE")
    cloud.write("uv_fails", "")
    done = cloud.on_shared("resume.sh", CONFIG)
    assert done.returncode == 1
    assert "installing on distil-16 failed; see above" in done.stderr


def test_launch_gives_every_host_the_same_words(launched: Cloud):
    for host, log in zip(HOSTS, launched.logs, strict=True):
        where, _, words = log.partition(": ")
        assert where == f"host {host} in {launched.shared}"
        expected = ["run", "configs/distil-16.yaml", "name=a b; echo $HOME 'c'"]
        assert shlex.split(words) == expected
    copied = launched.shared / "configs/distil-16.yaml"
    assert copied.read_bytes() == (REPOSITORY / CONFIG).read_bytes()
    assert launched.on_shared("follow.sh", "1").stdout == launched.logs[1]
    assert launched.on_shared("follow.sh", "all").stdout == "".join(launched.logs)


def test_launch_refuses_a_second_run(launched: Cloud):
    done = launched.on_shared("launch.sh", CONFIG)
    assert done.returncode == 1
    assert (
        "distil-jax runs on distil-16 already. follow.sh shows it, stop.sh ends it." in done.stderr
    )
    assert [log.count("\n") for log in launched.logs] == [1, 1, 1]


def test_a_stopped_run_can_be_launched_again(launched: Cloud):
    assert launched.on_shared("stop.sh").returncode == 0
    wait_for(lambda: launched.on_shared("launch.sh", CONFIG).returncode == 0)
    wait_for(lambda: [log.count("\n") for log in launched.logs] == [2, 2, 2])


def test_a_host_that_lacks_something_stops_the_launch(cloud: Cloud):
    cloud.run("create.sh")
    assert cloud.on_shared("install.sh").returncode == 0
    (cloud.root / "mounted_2").unlink()
    done = cloud.on_shared("launch.sh", CONFIG)
    assert done.returncode == 1
    missing = f"distil_jax or the mount at {cloud.shared} is missing on a host; run install.sh"
    assert missing in done.stderr
    unmounted = cloud.run("install.sh", SHARED=str(cloud.shared), FILESTORE="")
    assert unmounted.returncode == 1
    assert f"made-up-w-2: nothing is mounted at {cloud.shared}, and a run needs" in unmounted.stderr
    assert not cloud.logs


@pytest.mark.parametrize(
    "states, done_first",
    [
        ("", ["create"]),
        ("WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE", []),
        ("SUSPENDED", ["delete", "create"]),
        ("SUSPENDING\nSUSPENDED", ["delete", "create"]),
        ("FAILED", ["delete", "create"]),
        ("ACTIVE", []),
    ],
)
def test_resume_does_what_is_missing(cloud: Cloud, states: str, done_first: list[str]):
    if states:
        cloud.write("states", states)
    done = cloud.on_shared("resume.sh", CONFIG, "train.steps=7")
    assert done.returncode == 0, done.stderr
    changes = [
        call.split()[3] for call in cloud.lines("calls") if "queued-resources list" not in call
    ]
    assert [verb for verb in changes if verb in ("create", "delete")] == done_first
    wait_for(lambda: len(cloud.logs) == len(HOSTS) and all(cloud.logs))
    assert all(log.endswith("run configs/distil-16.yaml train.steps=7\n") for log in cloud.logs)


def test_resume_leaves_a_running_run_alone(launched: Cloud):
    done = launched.on_shared("resume.sh", CONFIG)
    assert (done.returncode, done.stderr) == (0, "distil-jax runs on distil-16\n")
    assert [log.count("\n") for log in launched.logs] == [1, 1, 1]


@pytest.mark.parametrize(
    "code, message",
    [
        ("0", "The run is finished; delete.sh gives"),
        ("2", "The run failed by itself: see follow.sh"),
    ],
)
def test_resume_does_not_start_again_what_is_over(launched: Cloud, code: str, message: str):
    launched.write("end", code)
    wait_for(lambda: launched.on_shared("resume.sh", CONFIG).returncode == 3)
    assert message in launched.on_shared("resume.sh", CONFIG).stderr
    assert [log.count("\n") for log in launched.logs] == [1, 1, 1]


def test_a_host_that_failed_counts_more_than_those_it_took_along(launched: Cloud):
    launched.write("end", "134")
    wait_for(lambda: launched.lines("hosts/0/distil-jax/run.exit") == ["134"])
    wait_for(lambda: bool(launched.lines("hosts/1/distil-jax/run.exit")))
    launched.write("hosts/1/distil-jax/run.exit", "1")
    wait_for(lambda: launched.on_shared("resume.sh", CONFIG).returncode == 3)


def test_resume_goes_on_after_a_signal(launched: Cloud):
    launched.write("end", "143")
    wait_for(lambda: "runs on" not in launched.on_shared("resume.sh", CONFIG).stderr)
    wait_for(lambda: [log.count("\n") for log in launched.logs] == [2, 2, 2])


def test_watching_survives_a_preemption_and_ends_with_the_run(launched: Cloud):
    launched.write("states", "ACTIVE\nSUSPENDING\nSUSPENDED")
    with ThreadPoolExecutor() as pool:
        watching = pool.submit(launched.on_shared, "resume.sh", "--watch", CONFIG)
        wait_for(lambda: [log.count("\n") for log in launched.logs] == [2, 2, 2])
        launched.write("end", "0")
        done = watching.result(timeout=60)
    assert done.returncode == 3
    assert "The run is finished" in done.stderr
    assert len(verbs(launched, "delete")) == 1


@pytest.mark.parametrize(
    "code, requeued", [("0", False), ("1", False), ("130", True), ("143", True)]
)
def test_slurm_job_goes_back_into_the_queue_after_sigterm(cloud: Cloud, code: str, requeued: bool):
    cloud.write("end", code)
    program = cloud.root / "my venv/bin/distil-jax"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    venv = str(program.parents[1])
    done = cloud.run("slurm_gpu.sh", CONFIG, "name=a b", VENV=venv, SLURM_JOB_ID="7")
    assert done.returncode == int(code)
    assert f" {program} run {CONFIG} name=a b\n" in done.stdout
    assert ("scontrol requeue 7\n" in done.stdout) == requeued
    outside = cloud.run("slurm_gpu.sh", CONFIG, VENV=venv)
    assert outside.returncode == 2
    assert "this is not a Slurm job; start it with sbatch" in outside.stderr


def test_the_example_holds_every_setting():
    text = (FOLDER / "settings.example.sh").read_text(encoding="utf-8")
    assert {*re.findall(r"^export (\w+)=", text, re.MULTILINE)} == SETTINGS.keys() - {"VENV"}


def test_the_readme_s_table_counts_right():
    """Chips, hosts of 4 chips, and TensorCores, of which a v5p chip has two."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)-(\d+)` \| (\d+) \| (\d+) \| `(\w+):([\dx]+)` \|", text, re.MULTILINE
    )
    assert len(rows) >= 8
    for kind, count, chips, hosts, generation, shape in rows:
        assert generation == {"v5litepod": "v5e"}.get(kind, kind)
        assert int(chips) == math.prod(map(int, shape.split("x"))) == 4 * int(hosts)
        assert int(count) == int(chips) * (2 if kind == "v5p" else 1)
    assert all(script in text for script in COMMANDS)
