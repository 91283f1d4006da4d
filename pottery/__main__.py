"""`python -m pottery`: the command `pottery`."""

import sys

from pottery._cli import main

if __name__ == "__main__":
    sys.exit(main())
