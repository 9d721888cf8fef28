"""How processes find each other: by given addresses, or by what jax knows of clusters."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distil_jax import processes
from distil_jax.errors import ConfigError, UserError
from distil_jax.processes import ending, native

_GIVEN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_HOW = f"To name the processes yourself, set {', '.join(_GIVEN)} in each of them"


def start(debug: bool = False) -> None:
    """Join the other processes of this run, if the environment says that there are any.

    To be called before jax is used for anything. Given addresses (_GIVEN: host:port of process 0,
    how many there are, and which this is) win over a cluster's.

    Raises ConfigError where only some of them are given or the cluster cannot be read, UserError
    where the other processes do not come.
    """
    given = given_addresses()
    if given is None and not _in_a_cluster() and not _on_a_tpu():
        return
    if given and given["num_processes"] == 1:
        return  # alone by its own word, whatever started it
    import jax

    try:
        jax.distributed.initialize(
            **given or {}, heartbeat_timeout_seconds=ending.heartbeat_seconds()
        )
    except ValueError as error:
        if given is None and not _in_a_cluster():
            return  # a TPU that no cluster owns
        raise ConfigError(
            f"the processes of this run cannot find each other: {error}. {_HOW}."
        ) from (error)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the other processes of this run did not come: {error}\nExpected were as many as "
            f"{(given or {}).get('num_processes', 'the cluster names')}; start the same command "
            f"in all of them, and let {_GIVEN[0]} be reachable from each."
        ) from error
    processes.take(processes.Place(jax.process_index(), jax.process_count()))
    if processes.count() > 1:
        if not debug:
            native.tidy()
        ending.watch()


def given_addresses() -> dict[str, Any] | None:
    """The arguments for jax.distributed.initialize of the variables in _GIVEN.

    None when there are none. Raises ConfigError when some lack, or are none that can be meant.
    """
    found = {name: os.environ[name] for name in _GIVEN if os.environ.get(name)}
    if not found or (_in_a_cluster() and set(found) == {_GIVEN[0]}):
        return None  # jax reads the address of a cluster's coordinator by itself
    missing = [name for name in _GIVEN if name not in found]
    if missing:
        raise ConfigError(
            f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} set, {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not. Several processes need all three: "
            f"host:port of process 0, how many there are, and the number of this one, from 0."
        )
    count, index = (_whole_number(name, found[name]) for name in _GIVEN[1:])
    if not 0 <= index < count:
        raise ConfigError(
            f"JAX_PROCESS_ID: got {index}, expected 0 to {count - 1} (JAX_NUM_PROCESSES is {count})"
        )
    address = found[_GIVEN[0]]
    if not address.rpartition(":")[2].isdigit():
        raise ConfigError(f"{_GIVEN[0]}: got {address!r}, expected host:port, as 10.0.0.1:8476")
    return {"coordinator_address": address, "num_processes": count, "process_id": index}


def _whole_number(name: str, text: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"{name}: got {text!r}, expected a whole number")
    return int(text)


def _in_a_cluster() -> bool:
    """Whether one of those that jax can read started several processes."""
    has = os.environ.get
    return (
        (has("SLURM_STEP_NODELIST") is not None and int(has("SLURM_NTASKS") or 1) > 1)
        or int(has("OMPI_COMM_WORLD_SIZE") or 1) > 1
        or (has("KUBERNETES_SERVICE_HOST") is not None and has("JOB_COMPLETION_INDEX") is not None)
        or "," in (has("TPU_PROCESS_ADDRESSES") or has("TPU_WORKER_HOSTNAMES") or "")
    )


def _on_a_tpu() -> bool:
    """Whether this may be a TPU VM: only its metadata server knows how many hosts there are."""
    devices = any(Path("/dev").glob("accel*")) or any(Path("/dev").glob("vfio/[0-9]*"))
    wanted = os.environ.get("JAX_PLATFORMS", "tpu")
    return devices and "tpu" in wanted and find_spec("libtpu") is not None
