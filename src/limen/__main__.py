"""`python -m limen`: the same program as `limen`."""

from limen.cli.main import main

main()
