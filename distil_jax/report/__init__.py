"""The page about a run: everything its folder knows, for a reader who was not there."""

from distil_jax.report.law_page import write_law_report
from distil_jax.report.page import write_report

__all__ = ["write_law_report", "write_report"]
