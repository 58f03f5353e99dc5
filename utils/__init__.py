import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- an older Python fails elsewhere, and does not say why
    sys.exit(f"error: Python {sys.version_info[0]}.{sys.version_info[1]} found; 3.11 or newer is needed.")
