"""``python -m monitor`` is ``job-monitor``."""

import gc

SELDOM = 200_000
"""Objects after which garbage is looked for: more than commands make that end by themselves."""


def main() -> None:
    """Run a command, and look for garbage seldom from the first import on."""
    # Most of what a command makes lasts until it ends: to look for garbage in it takes a tenth.
    gc.set_threshold(SELDOM)
    from monitor.cli.main import main as run  # noqa: PLC0415 -- see above

    run()


if __name__ == "__main__":
    main()
