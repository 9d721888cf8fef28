"""How a page is made of a template and facts."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from distil_jax.report import figures
from distil_jax.run import write_text


def write_page(path: Path, template: str, facts: dict[str, Any]) -> None:
    """Fill a template of ours with all that it asks for."""
    environment = Environment(
        loader=PackageLoader("distil_jax.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,  # transcripts and file names may hold anything
    )
    environment.filters.update(
        number=figures.number,
        count=figures.count,
        points=figures.points,
        share=figures.share,
        digits=figures.digits,
    )
    page = environment.get_template(template).render(facts)
    # A file name that is not UTF-8 carries lone surrogates, which no page can hold.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))
