"""The steps of a text that is checked as it grows, and the way back where it went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainkit.base.errors import ConstraintNotMet
from chainkit.decoding.outline import Outline
from chainkit.decoding.validation import Fault, Validator

_MOST_RETREATS = 64  # ways back in one text
_MOST_LONGER = 12  # tokens that may follow a refused end before the search backtracks further
_MOST_REFUSED = 512  # tokens refused at one position before giving up


@dataclass
class _Step:
    """Tokens that were taken together.

    Attributes:
        tokens: They themselves.
        before: The outline in front of them.
        refused: Tokens that were refused in their place.
        choice: Whether another token could have made a difference: it was chosen, and has content.
    """

    tokens: tuple[int, ...]
    before: Outline
    refused: frozenset[int]
    choice: bool


@dataclass
class Trail:
    """What has been written of a checked text.

    Attributes:
        validator: What the text must be.
        name: The constraint in words, for messages.
        refused: Tokens that may not come next.
        stuck: Whether nothing may come next.
    """

    validator: Validator
    name: str
    refused: set[int] = field(default_factory=set[int])
    stuck: bool = False
    _data: bytes = b""
    _outline: Outline = field(default_factory=Outline)
    _steps: list[_Step] = field(default_factory=list[_Step])
    _fault: Fault | None = None
    _retreats: int = 0
    _hopeless: tuple[int, int] | None = None  # where a text begins whose end was refused, and the steps by then

    @property
    def data(self) -> bytes:
        """The text so far."""
        return self._data

    def permits(self, data: bytes) -> bool:
        """Whether no value or key that these bytes complete is at fault."""
        following = self._outline.after(data)
        if (following.end, following.name_end) == (self._outline.end, self._outline.name_end):
            return True
        fault = self.validator.fault_so_far(self._data + data, following)
        self._fault = fault or self._fault
        if fault is not None and self._outline.in_string and self._hopeless is None:
            self._hopeless = self._outline.begin, len(self._steps)
        return fault is None

    def refuse(self, token: int) -> None:
        """Do not offer this token again here."""
        self.refused.add(token)
        self.stuck = self.stuck or len(self.refused) > _MOST_REFUSED

    def whole(self) -> bool:
        """Whether the text so far is one that the validator takes."""
        fault = self.validator.fault_of_text(self._data)
        self._fault = fault or self._fault
        return fault is None

    def add(self, tokens: Sequence[int], data: bytes) -> None:
        """Take up tokens and their bytes."""
        opening = data.strip() == b'"' and not self._outline.in_string
        choice = len(tokens) == 1 and bool(data.strip()) and not opening
        self._steps.append(_Step(tuple(tokens), self._outline, frozenset(self.refused), choice))
        self._outline, self._data = self._outline.after(data), self._data + data
        self.refused, self.stuck = set(), False
        if self._hopeless is not None:
            if not self._outline.in_string or self._outline.begin != self._hopeless[0]:
                self._hopeless = None
            elif len(self._steps) - self._hopeless[1] > _MOST_LONGER:
                self.stuck = True

    def retreat(self, *, ended: bool) -> list[int]:
        """The tokens to take back, the first of which may not come again in its place.

        Args:
            ended: Whether the text was whole, so that the fault may lie anywhere in it.

        Raises:
            ConstraintNotMet: There is no way back, or there were too many.
        """
        self._retreats += 1
        keep = self._first_of_text() if self._hopeless is not None else self._last_before(ended=ended)
        self._hopeless = None
        if keep < 0 or self._retreats > _MOST_RETREATS:
            raise ConstraintNotMet(self.name, str(self._fault or "no token leads on"), self._retreats)
        gone, self._steps = self._steps[keep:], self._steps[:keep]
        first = gone[0]
        self._outline, self._data = first.before, self._data[: first.before.length]
        self.refused, self.stuck = {*first.refused, first.tokens[0]}, False
        return [token for step in gone for token in step.tokens]

    def _first_of_text(self) -> int:
        """The step that chose how a text begins whose end was refused."""
        begin = self._hopeless[0] if self._hopeless is not None else 0
        keep = next((place for place, step in enumerate(self._steps) if step.before.length >= begin and step.choice), 0)
        return keep if self._steps[keep].choice else self._last_before(ended=False)

    def _last_before(self, *, ended: bool) -> int:
        """The last step before the end of the value at fault where there was a choice; -1 if there was none."""
        place = self._place_of_fault() if ended else len(self._data)
        keep = len(self._steps) - 1
        while keep >= 0 and (not self._steps[keep].choice or self._steps[keep].before.length >= place):
            keep -= 1
        return keep

    def _place_of_fault(self) -> int:
        """Where the value at fault ends, in bytes; the end of the text if that is not known."""
        if self._fault is None or not self._fault.path:
            return len(self._data)
        text = self._data.decode("utf-8", "replace")
        return len(text[: self.validator.place(text, self._fault)].encode())
