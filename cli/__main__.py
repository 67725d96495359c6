"""`python -m llmcost.cli`: the same program where the script is not on the PATH."""

from .main import run

run()
