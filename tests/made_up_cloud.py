"""A made-up cloud for tpu_scripts: a `gcloud` that keeps a queue, and hosts that are folders.

What the scripts send to a host is run, in a folder of its own, with the host's tools made up too.
"""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
HOSTS = ("0", "1", "2")

# states: what the next looks will see, one a line; the last one stays.
GCLOUD = r"""
printf '%s\n' "$*" >>"$CLOUD/calls"
worker="" command=""
for word in "$@"; do case $word in
    --worker=*) worker=${word#*=} ;;
    --command=*) command=${word#*=} ;;
esac; done
[ "$worker" != all ] || worker="0 1 2"
case "$1 $2 $3 $4" in
    "compute tpus queued-resources list")
        [ ! -e "$CLOUD/down" ] || { echo "no network" >&2; exit 1; }
        [ -e "$CLOUD/states" ] || exit 0
        head -n 1 "$CLOUD/states"
        [ "$(wc -l <"$CLOUD/states")" -eq 1 ] || sed -i 1d "$CLOUD/states" ;;
    "compute tpus queued-resources create")
        printf 'WAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE\n' >"$CLOUD/states" ;;
    "compute tpus queued-resources delete")
        rm -r "$CLOUD/states" "$CLOUD/hosts"; mkdir -p "$CLOUD/hosts/"{0,1,2} ;;
    "compute tpus tpu-vm scp")
        to=${6#*:}
        for host in $worker; do (cd "$CLOUD/hosts/$host"; cp "$OLDPWD/$5" "$to"); done ;;
    "compute tpus tpu-vm ssh")
        code=0
        for host in $worker; do
            (cd "$CLOUD/hosts/$host"; HOME=$PWD MADE_UP_HOST=$host bash -c "$command") || code=$?
        done
        exit $code ;;
    *) echo "gcloud: $*?" >&2; exit 2 ;;
esac
"""
# uv makes a distil-jax that runs until $CLOUD/end says how.
UV = r"""
[ ! -e "$CLOUD/uv_fails" ] || exit 2
printf 'uv %s\n' "$*" >>"$CLOUD/host_calls"
program=$HOME/distil-jax/venv/bin/distil-jax
mkdir -p "$(dirname "$program")"
cat >"$program" <<'PROGRAM'
#!/usr/bin/env bash
printf 'host %s in %s:' "$MADE_UP_HOST" "$PWD"
printf ' %q' "$@"
echo
while [ ! -e "$CLOUD/end" ]; do sleep 0.02; done
exit "$(cat "$CLOUD/end")"
PROGRAM
chmod +x "$program"
"""
TOOLS = {
    "gcloud": GCLOUD,
    "uv": UV,
    "mountpoint": '[ -e "$CLOUD/mounted_$MADE_UP_HOST" ]',
    "hostname": 'echo "made-up-w-$MADE_UP_HOST"',
    "sudo": 'printf "sudo %s\\n" "$*" >>"$CLOUD/host_calls"\n'
    '[ "$1" != mount ] || touch "$CLOUD/mounted_$MADE_UP_HOST"',
    "tail": 'cat "${!#}"',  # a follower that ends
    "srun": 'printf "srun %s\\n" "$*"; exit "$(cat "$CLOUD/end")"',
    "scontrol": 'printf "scontrol %s\\n" "$*"',
}
SETTINGS = {
    "PROJECT": "my-project",
    "ZONE": "us-west4-a",
    "NAME": "distil-16",
    "ACCELERATOR": "v5litepod-16",
    "CREATE_FLAGS": "--spot",
    "PACKAGE": "distil_jax[tpu] @ git+https://example.org/distil_jax@v1",
    "FILESTORE": "10.0.0.2:/share",
    "SHARED": "/mnt/shared",
    "CLUSTER": "distil",
    "INSTANCE": "distil-files",
    "IMAGE": "us-docker.pkg.dev/my-project/distil/distil_jax:v1",
    "VENV": "/mnt/shared/venv",
}


class Cloud:
    """root: a new folder. Nothing outside it is written, and no real gcloud is in reach."""

    def __init__(self, root: Path):
        self.root, self.shared = root, root / "shared"
        for folder in ("bin", "shared", *(f"hosts/{host}" for host in HOSTS)):
            (root / folder).mkdir(parents=True)
        for name, text in TOOLS.items():
            tool = root / "bin" / name
            tool.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{text}\n", encoding="utf-8")
            tool.chmod(0o755)

    def run(self, script: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A script of tpu_scripts, run from the top of the repository."""
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "CLOUD": str(self.root),
            "POLL_SECONDS": "0",
            "WATCH_SECONDS": "0",
            **SETTINGS,
            **settings,
        }
        whole = [f"tpu_scripts/{script}", *words]
        return subprocess.run(
            whole, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )

    def on_shared(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`run` with the made-up hosts' own shared folder, which no golden file could name."""
        return self.run(script, *words, SHARED=str(self.shared))

    def lines(self, name: str) -> list[str]:
        path = self.root / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text + "\n", encoding="utf-8")

    @property
    def logs(self) -> list[str]:
        """What the programs on the hosts printed."""
        paths = sorted(self.shared.glob("logs/*/*.log"))
        return [path.read_text(encoding="utf-8") for path in paths]
