"""Placeholder until the report lands."""
from distil_jax.run import RunFolder, write_text


def write_report(run: RunFolder):
    write_text(run.report, "<p>")
    return run.report
