"""The report of a tuning: before and after on held-out examples, as text, JSON and a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chainkit.tuning.plan import TuningPlan
from chainkit.tuning.train import History

_LONGEST = 160  # characters of a text in the report
_WIDTH, _HEIGHT, _MARGIN = 640, 240, 40


@dataclass(frozen=True)
class Sample:
    """The model's answer to a held-out prompt.

    Attributes:
        prompt: The prompt.
        wanted: The example's answer.
        before: The answer of the base model.
        after: The answer with the soft prompt.
    """

    prompt: str
    wanted: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class TuningReport:
    """Before and after.

    Attributes:
        plan: The plan that was executed.
        loss_before: Of the base model on the held-out examples, per token of the answers.
        loss_after: The same after training.
        exact_before: Of how many held-out answers every token is the base model's likeliest one, of `asked`.
        exact_after: The same after training.
        asked: Held-out examples.
        samples: A few of them.
        steps: That were done.
        best_step: The step whose numbers were kept.
        stopped_early: Whether the held-out loss ended the training.
        seconds: It took.
        nbytes: Bytes written; 0 if nothing was saved.
        history: Losses of the steps, and the held-out ones.
    """

    plan: TuningPlan
    loss_before: float
    loss_after: float
    exact_before: int
    exact_after: int
    asked: int
    samples: Sequence[Sample]
    steps: int
    best_step: int
    stopped_early: bool
    seconds: float
    nbytes: int
    history: History

    @property
    def better(self) -> bool:
        """Whether the held-out loss is lower than the base model's."""
        return self.loss_after < self.loss_before

    def as_dict(self) -> dict[str, Any]:
        """The report as values for JSON."""
        return asdict(self) | {"better": self.better}

    def __str__(self) -> str:
        early = ", ended early" if self.stopped_early else ""
        lines = [
            f"held-out loss   {self.loss_before:.4f} -> {self.loss_after:.4f} per token",
            f"exact answers   {self.exact_before} -> {self.exact_after} of {self.asked}",
            f"training        {self.steps} steps in {self.seconds:.1f} s{early}; the best was step {self.best_step}",
        ]
        if not self.better:
            lines.append("The result is not better than the base model.")
        if self.nbytes:
            lines.append(f"saved           {self.nbytes:,} bytes")
        for sample in self.samples:
            lines += ["", f"  prompt  {_short(sample.prompt)}", f"  wanted  {_short(sample.wanted)}"]
            lines += [f"  before  {_short(sample.before)}", f"  after   {_short(sample.after)}"]
        return "\n".join(lines)

    def page(self) -> str:
        """The report as one HTML page with the curve of the loss; it loads nothing."""
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_short(text))}</td>" for text in row) + "</tr>"
            for row in ((one.prompt, one.wanted, one.before, one.after) for one in self.samples)
        )
        head, _, _ = str(self).partition("\n\n")
        title = f"Tuning of {html.escape(self.plan.model)}"
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
            "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
            "pre{background:#f5f5f5;padding:1em;overflow:auto}table{border-collapse:collapse}"
            "td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}svg{max-width:100%}"
            f"</style><h1>{title}</h1><pre>{html.escape(str(self.plan))}</pre><pre>{html.escape(head)}</pre>"
            f"{self._curve()}<table><tr><th>prompt<th>wanted<th>before<th>after</tr>{rows}</table></html>\n"
        )

    def _curve(self) -> str:
        """Losses of batches as a thin line, held-out losses as a thick one, the base model's as a dashed one."""
        thin = list(enumerate(self.history.losses, 1))
        thin = thin[:: max(1, len(thin) // 400)]
        thick, dashed = self.history.held_out, [(0, self.loss_before), (self.steps, self.loss_before)]
        most = max([loss for _, loss in [*thin, *thick, *dashed]], default=1.0) or 1.0

        def line(points: Sequence[tuple[int, float]], style: str) -> str:
            places = " ".join(
                f"{_MARGIN + step / max(1, self.steps) * (_WIDTH - 2 * _MARGIN):.1f},"
                f"{_HEIGHT - _MARGIN - loss / most * (_HEIGHT - 2 * _MARGIN):.1f}"
                for step, loss in points
            )
            return f'<polyline points="{places}" fill="none" {style}/>'

        foot = _HEIGHT - _MARGIN
        axes = f'<path d="M{_MARGIN} {_MARGIN}V{foot}H{_WIDTH - _MARGIN}" fill="none" stroke="#888"/>'
        marks = (
            f'<text x="4" y="{_MARGIN + 4}">{most:.2f}</text><text x="20" y="{foot}">0</text>'
            f'<text x="{_WIDTH - _MARGIN}" y="{foot + 18}" text-anchor="end">step {self.steps}</text>'
            f'<text x="{_MARGIN + 8}" y="{_MARGIN - 12}">loss per token: batches (thin), held-out (thick), '
            "base model (dashed)</text>"
        )
        drawn = (
            line(thin, 'stroke="#9bc" stroke-width="1"')
            + line(dashed, 'stroke="#c55" stroke-dasharray="5 4"')
            + line(thick, 'stroke="#147" stroke-width="3"')
        )
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" role="img">{axes}{drawn}{marks}</svg>'


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
