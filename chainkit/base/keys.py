"""API keys: where they are looked for, and the file that holds the stored ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.dotenv import dotenv_values
from chainkit.base.errors import ChainkitError, MissingKey
from chainkit.base.paths import config_dir
from chainkit.base.private import read_object, write_object

KEY_VARIABLES: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "cohere": ("CO_API_KEY", "COHERE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HUGGINGFACE_API_KEY"),
    "ai21": ("AI21_API_KEY",),
    "azure_openai": ("AZURE_OPENAI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "nvidia": ("NVIDIA_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
    "together": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY"),
    "xai": ("XAI_API_KEY",),
}
"""The environment variables of each provider, the usual one first."""

ENV_FILE = ".env"
"""A file with keys in the current folder; it is read and never written."""


def checked_key(secret: str, owner: str) -> str:
    """A key as it can be sent in a header, without the white space around it that a file or a paste brings along.

    Raises:
        ValueError: It is empty, or holds a character that no key has; the message names the place and not the key.
    """
    secret = secret.strip()
    if not secret:
        raise ValueError(f"the key for {owner} is empty")
    for place, character in enumerate(secret, 1):
        if not "!" <= character <= "~":
            raise ValueError(
                f"the key for {owner} cannot be sent: character {place} of {len(secret)} is U+{ord(character):04X}; "
                "a key has only letters, digits and signs of ASCII, copy it again"
            )
    return secret


@dataclass(frozen=True)
class Key:
    """A secret and where it was found; only `secret` holds it, and it is left out of `repr`."""

    provider: str
    source: str
    secret: str = field(repr=False)


def find_key(provider: str) -> Key | None:
    """The key of a provider: of the environment, else of `.env`, else the stored one; None if there is none.

    Raises:
        ChainkitError: `.env` or the file of stored keys was needed and cannot be read.
    """
    variables = KEY_VARIABLES.get(provider, ())
    for variable in variables:
        if secret := os.environ.get(variable, "").strip():
            return Key(provider, variable, secret)
    file = Path(ENV_FILE).absolute()
    values = dotenv_values(file)
    for variable in variables:
        if secret := values.get(variable, "").strip():
            return Key(provider, f"{variable} in {file}", secret)
    stored = _read().get(provider)
    return Key(provider, str(keys_file()), stored) if stored else None


def need_key(provider: str) -> Key:
    """The key of a provider.

    Raises:
        MissingKey: There is none; the error names the variables.
    """
    key = find_key(provider)
    if key is None:
        raise MissingKey(provider, KEY_VARIABLES.get(provider, ()))
    return key


def store_key(provider: str, secret: str) -> Path:
    """Keep a key in a file that only the user can read; returns the file."""
    return _write(_read() | {provider: checked_key(secret, provider)})


def forget_key(provider: str) -> bool:
    """Remove a stored key; False if there was none."""
    stored = _read()
    if provider not in stored:
        return False
    del stored[provider]
    _write(stored)
    return True


def stored_providers() -> list[str]:
    """The providers that have a stored key."""
    return sorted(_read())


def keys_file() -> Path:
    """The file of stored keys; it need not exist."""
    return config_dir() / "keys.json"


def _read() -> dict[str, str]:
    path = keys_file()
    stored = read_object(path)
    texts = {provider: secret for provider, secret in stored.items() if isinstance(secret, str)}
    if len(texts) < len(stored):
        raise ChainkitError(f"{path} does not hold provider names and keys; mend it or delete it")
    return texts


def _write(stored: dict[str, str]) -> Path:
    path = keys_file()
    write_object(path, stored)
    return path
