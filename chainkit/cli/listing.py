"""A group of commands of which one need not be named."""

from __future__ import annotations

import click


class ListingGroup(click.Group):
    """Without a command, or with options only, it is `list`; words that are not command go to `otherwise`.

    Attributes:
        otherwise: Name of the command that takes such words; empty for `list`.
    """

    otherwise: str = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it, with the command in front that is meant."""
        known = {*self.commands, *ctx.help_option_names}
        if not args or args[0].startswith("-"):
            args = args if args and args[0] in known else ["list", *args]
        elif args[0] not in known:
            args = [self.otherwise or "list", *args]
        return super().parse_args(ctx, args)
