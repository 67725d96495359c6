"""The program `llmcost`: its commands, and what the shell sees when one fails."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ..models.errors import LlmcostError
from . import (
    alerts,
    audit,
    bi,
    budget,
    compact,
    connect,
    demo,
    doctor,
    focus,
    gate,
    outcomes,
    prices,
    reconcile,
    refresh,
    reprice,
    rollup,
    serve,
    sql,
    statement,
    tokens,
    trace,
    vacuum,
    why,
)
from .figures import one_line

_HELP = """What LLM calls cost, per outcome: OTLP in, Parquet by day, SQL out.

\b
Examples:
  llmcost serve                                   receive OTLP/gRPC on port 4317
  llmcost rollup cost-per-outcome --since 7d      what one resolved case costs
  llmcost rollup --list                           every rollup, in a sentence
  llmcost demo                                    try it on a made-up week

\b
Exit codes:
  0  done
  1  doctor found a failure, an audit an offender, alerts check an open alert, a gate a worse candidate, a budget
     blocks, reconcile found more than --max-variance, the demo's bill is wrong, or the program has a bug
  2  the question is wrong: an option, a name, a setting, a price file, a report
  3  the lake is missing, not writable, or written by a newer llmcost; or a gate has too little data
  4  received spans could not be landed
  130, 141  stopped by Ctrl-C, or by the reader of a pipe
"""

app = typer.Typer(
    name="llmcost",
    help=_HELP,
    add_completion=False,
    rich_markup_mode=None,  # plain help: starts faster, and reads the same in a terminal and in docs/cli.md
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
app.command()(serve.serve)
app.command()(connect.connect)
app.command()(rollup.rollup)
app.command()(why.why)
app.command()(statement.statement)
app.command()(focus.focus)
app.command()(gate.gate)
app.command()(trace.trace)
app.command()(sql.sql)
app.command()(bi.bi)
app.command()(refresh.refresh)
app.command()(audit.audit)
app.add_typer(alerts.app)
app.command()(doctor.doctor)
app.command()(compact.compact)
app.command()(vacuum.vacuum)
app.add_typer(tokens.app)
app.add_typer(prices.app)
app.add_typer(outcomes.app)
app.add_typer(budget.app)
app.add_typer(reconcile.app)
app.command()(reprice.reprice)
app.command()(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmcost {version('llmcost')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _help_command(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'llmcost'} --help"


def run() -> None:
    """Run the program and exit: one line on stderr for a user's error, silence for Ctrl-C and a closed pipe."""
    try:
        # Outside its "standalone mode" the library raises what went wrong, so that we choose the words and the code.
        code = app(prog_name="llmcost", standalone_mode=False) or 0
        sys.stdout.flush()
    except LlmcostError as error:
        typer.echo(f"llmcost: {one_line(' '.join(str(error).split()))}", err=True)
        code = error.exit_code
    except typer.TyperException as error:
        typer.echo(f"llmcost: {' '.join(error.format_message().split())} (see: {_help_command(error)})", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        code = _reader_left()
    except SystemExit as stop:
        # The library turns a closed pipe into an exit of its own.
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        code = _reader_left()
    sys.exit(code)


def _reader_left() -> int:
    """Python flushes stdout once more at exit; give that flush somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141
