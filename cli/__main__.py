"""The command out of a checkout: `python -m cli`."""

from cli import app

app()
