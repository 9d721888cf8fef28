"""What every test shares: eight CPU devices, and the recordings outside the repository."""

import os
from importlib.metadata import version
from pathlib import Path

# Before jax starts its backend. A machine with an accelerator tests on its CPU too, unless told.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is the compiler's; of programs this small faster code saves nothing.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):  # another one may not know these, and then refuses
    QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", QUICK)

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Programs that several tests build are compiled by the first of them, in any process.

    They are kept where JAX_COMPILATION_CACHE_DIR says, or for this session alone.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    kept = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    jax.config.update("jax_compilation_cache_dir", kept)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of this repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings, texts and tables that are not part of the repository."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("DISTIL_JAX_SHARED_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; DISTIL_JAX_SHARED_DATA says where it is")
    return folder
