"""`python -m igw` is `igw`."""

from igw.cli.main import app

app(prog_name="igw")
