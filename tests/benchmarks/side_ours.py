"""Our command line; ``--without NAME`` hides a module, as if an optional extra were not installed."""

import sys

if __name__ == "__main__":
    if sys.argv[1] == "--without":
        sys.modules[sys.argv[2]] = None  # type: ignore[assignment]  # importing it now fails
        del sys.argv[1:3]
    from tl_app.cli import main

    main()
