"""``python -m tl_app`` is ``tl-app``."""

from tl_app.cli import main

if __name__ == "__main__":
    main()
