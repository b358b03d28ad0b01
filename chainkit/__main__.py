"""`python -m chainkit` is the `chainkit` command."""

from chainkit.cli.main import main

if __name__ == "__main__":
    main()
