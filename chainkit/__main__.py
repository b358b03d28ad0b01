"""`python -m chainkit` is the `chainkit` command."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it quietly from the first import on."""
    try:
        from chainkit.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells count


if __name__ == "__main__":
    main()
