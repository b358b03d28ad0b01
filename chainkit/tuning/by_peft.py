"""P-tuning, prefix tuning and context-aware prompt tuning, by PEFT, on the same examples and in the same loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainkit.backends.huggingface.libraries import torch
from chainkit.base.errors import MissingLibrary
from chainkit.tuning.batches import IGNORED, EncodedExample
from chainkit.tuning.learners import count_hits
from chainkit.tuning.model import Base
from chainkit.tuning.settings import TuningSettings

try:
    import peft
except ImportError as error:
    raise MissingLibrary("peft", extra="tune") from error

# of PEFT's own, where nobody says otherwise: these methods train other numbers than vectors of tokens
_LEARNING_RATES = {"p-tuning": 0.005, "prefix": 0.005, "cpt": 0.005}
_HIDDEN = 128


class ByPeft:
    """An adapter of PEFT in front of the model.

    PEFT puts padding between the adapter and the text if it is on the left, so here it is on the right.
    """

    def __init__(self, base: Base, settings: TuningSettings, first: str) -> None:
        self.base, self._settings = base, settings
        self.learning_rate = _LEARNING_RATES[settings.method]
        torch.manual_seed(settings.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 asks transformers 5 by an old name
            self.model: Any = peft.get_peft_model(base.model, _config(base, settings, first))
        self.model.eval()  # no dropout, as in our own method

    @property
    def trained(self) -> Mapping[str, torch.Tensor]:
        """The adapter's numbers."""
        return {name: values for name, values in self.model.named_parameters() if values.requires_grad}

    def loss(self, examples: Sequence[EncodedExample]) -> tuple[torch.Tensor, int]:
        """The sum of the negative log-likelihoods of the answers' tokens, and how many tokens those are."""
        after, wanted = self._scored(examples)
        total = torch.nn.functional.cross_entropy(
            after.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total, int((wanted != IGNORED).sum())

    def hits(self, examples: Sequence[EncodedExample]) -> int:
        """How many answers are, token by token, what the model finds likeliest."""
        with torch.inference_mode():
            return count_hits(*self._scored(examples))

    def _scored(self, examples: Sequence[EncodedExample]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after every token but the last, [B, T, V], and the target tokens, [B, T]."""
        width = max(example.length for example in examples)
        tokens = torch.zeros(len(examples), width, dtype=torch.long)
        mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, IGNORED)
        for row, example in enumerate(examples):
            tokens[row, : example.length] = torch.tensor([*example.prompt, *example.answer])
            mask[row, : example.length] = 1
            labels[row, len(example.prompt) : example.length] = torch.tensor(example.answer)
        logits = self._logits(tokens, mask)
        # virtual tokens that PEFT puts before the text have logits too, except in prefix tuning
        after = logits[:, logits.shape[1] - width :][:, :-1].float()
        return after, labels[:, 1:].to(after.device)

    def hold(self) -> None:
        """PEFT bounds what has bounds."""

    def write(self, prompt: Sequence[int], count: int) -> list[int]:
        """The model's greedy continuation of a prompt, at most `count` tokens."""
        tokens: list[int] = []
        with torch.inference_mode():
            while len(tokens) < count:
                line = torch.tensor([[*prompt, *tokens]])
                token = int(self._logits(line, torch.ones_like(line))[0, -1].argmax())
                if self.base.vocabulary.is_end(token):
                    break
                tokens.append(token)
        return tokens

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does."""
        self.model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # an empty form of a model card

    def _logits(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        device = self.base.loaded.device
        return self.model(input_ids=tokens.to(device), attention_mask=mask.to(device)).logits


def _config(base: Base, settings: TuningSettings, first: str) -> Any:
    count = settings.virtual_tokens
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "inference_mode": False}
    if settings.method == "p-tuning":
        return peft.PromptEncoderConfig(num_virtual_tokens=count, encoder_hidden_size=_HIDDEN, **common)
    if settings.method == "prefix":
        return peft.PrefixTuningConfig(num_virtual_tokens=count, **common)
    tokens = base.vocabulary.tokenize(settings.init_text or first)
    tokens = (tokens * -(-count // len(tokens)))[:count]
    return peft.CPTConfig(
        num_virtual_tokens=count, cpt_token_ids=tokens, cpt_mask=[1] * count, cpt_tokens_type_mask=[1] * count, **common
    )
