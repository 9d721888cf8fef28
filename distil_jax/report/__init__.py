"""The page about a run: everything its folder knows, for a reader who was not there."""

from distil_jax.report.page import write_report

__all__ = ["write_report"]
