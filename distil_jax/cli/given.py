"""Which options a user gave."""

import typer


def given(ctx: typer.Context) -> dict[str, str]:
    """By parameter's name, what it is called on the command line; not those left at defaults."""
    return {
        parameter.name: parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name is not None and _is_given(ctx, parameter.name)
    }


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
