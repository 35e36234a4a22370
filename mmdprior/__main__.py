"""``python -m mmdprior``: the same as the command ``mmdprior``."""

import sys

from mmdprior.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
