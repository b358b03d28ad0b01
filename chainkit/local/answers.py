"""Pieces of a generation in langchain-core's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from chainkit.base.session import Counters, FinishReason, Piece, TokenScore

# OpenAI's words, which tools around LangChain look for
_REASONS: dict[FinishReason, str] = {
    "eos": "stop",
    "stop": "stop",
    "complete": "stop",
    "length": "length",
    "repetition": "repetition",
}


def usage(counters: Counters, prompt_tokens: int) -> UsageMetadata:
    """Usage metadata of a generation; tokens already in the KV cache count as cached."""
    written = counters.sampled + counters.forced
    return UsageMetadata(
        input_tokens=prompt_tokens,
        output_tokens=written,
        total_tokens=prompt_tokens + written,
        input_token_details=InputTokenDetails(cache_read=min(counters.cached, prompt_tokens)),
        **drafts(counters),
    )


def drafts(counters: Counters) -> dict[str, Any]:
    """How many tokens of a smaller model were taken, and how many were not; nothing if none was asked."""
    if not counters.drafted:
        return {}
    rejected = counters.drafted - counters.accepted
    return {"output_token_details": {"accepted_prediction": counters.accepted, "rejected_prediction": rejected}}


def ending(piece: Piece) -> dict[str, Any]:
    """Why a generation ended; `finish_detail` says which limit it was."""
    assert piece.finish is not None
    info: dict[str, Any] = {"finish_reason": _REASONS[piece.finish]}
    if piece.detail:
        info["finish_detail"] = piece.detail
    return info


def logprobs(scores: Iterable[TokenScore]) -> dict[str, Any]:
    """Log-probabilities in the shape of OpenAI's chat API."""
    return {"content": [_logprob(score) for score in scores]}


def joined(pieces: Sequence[Piece]) -> str:
    """The whole text."""
    return "".join(piece.text for piece in pieces)


def _logprob(score: TokenScore) -> dict[str, Any]:
    rivals = [{"token": text, "logprob": logprob} for text, logprob in score.others]
    return {"token": score.text, "logprob": score.logprob, "top_logprobs": rivals}
