"""`python -m guard` is the `guard` command."""

from guard.cli.main import main

main()
