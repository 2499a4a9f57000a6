"""`python -m guard.audit.verifier PATH`, or `python verify.pyz PATH` in the one-file form."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
