"""Requests: refuses what OpenAI would refuse, in its words, and takes out what is said to us and not to the provider.

Only shapes are checked, and only where we or every provider depend on them: ranges and unknown fields are the provider's to
judge. ``null`` for an optional field is as good as leaving it out. No message repeats more than a few characters of
what was sent, and those as ASCII, so it can be written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from proxy.call import Body, Operation
from proxy.errors import BadRequest

NAME_CHARS_MAX = 512  # of a model, a user, an action …: all are stored; OpenAI's own cap on a metadata value
_SHOWN_CHARS = 40
_WORD = re.compile(r"[a-z_]{1,20}")
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_ROLES_WITHOUT_CONTENT = frozenset({"assistant", "function"})  # they may call a tool instead
_OWN_TEXTS = ("action", "workspace_id", "prospect_id")
_OWN = frozenset({*_OWN_TEXTS, "auto_select_model"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What the body says to us: who and what it is for. ``user`` stays in the body, it is OpenAI's field too."""

    action: str | None = None
    workspace: str | None = None
    prospect: str | None = None
    auto_downgrade: bool = True
    user: str | None = None


def check(body: Body, operation: Operation) -> None:
    """Raise BadRequest, its ``param`` the path of the first thing wrong, such as ``messages[2].role``."""
    _check_name(_required(body, "model"), "model")
    _check_metadata(body.get("metadata"))
    if operation is Operation.EMBEDDINGS:
        _check_input(_required(body, "input"))
        return
    _check_messages(_required(body, "messages"))
    for name, is_right, expected in _CHAT_FIELDS:
        value = body.get(name)
        if value is not None and not is_right(value):
            _refuse_type(name, value, expected)
    for name in ("n", "max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and body[name] < 1:
            _refuse(f"Invalid '{name}': integer below minimum value. Expected a value >= 1.", name, _BELOW)
    if body.get("stream_options") is not None and body.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled. Set 'stream' to true or leave it out."
        _refuse(message, "stream_options", "invalid_value")


def choices(body: Body) -> int:
    """How many answers are asked for: ``n``, 1 where it is left out."""
    n = body.get("n")
    return n if type(n) is int and n >= 1 else 1


def take_own(body: Body) -> tuple[dict[str, Any], Own]:
    """A copy of the body without our own metadata fields, and what they said. Raises BadRequest for a wrong type."""
    kept = dict(body)
    metadata = body.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        _refuse_type("metadata", metadata, "an object")
    own = Own(
        action=_text(metadata.get("action"), "metadata.action"),
        workspace=_text(metadata.get("workspace_id"), "metadata.workspace_id"),
        prospect=_text(metadata.get("prospect_id"), "metadata.prospect_id"),
        auto_downgrade=_switch(metadata.get("auto_select_model"), "metadata.auto_select_model"),
        user=_text(body.get("user"), "user"),
    )
    if _OWN.isdisjoint(metadata):
        return kept, own
    kept["metadata"] = {key: value for key, value in metadata.items() if key not in _OWN}
    if not kept["metadata"]:
        del kept["metadata"]  # OpenAI takes metadata only with ``store``: an empty one would be an error we caused
    return kept, own


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_int(value: object) -> bool:
    return type(value) is int  # a bool is an int to Python, not to JSON


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_text_or_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


_INPUT_ITEMS: Mapping[type, str] = MappingProxyType({str: "a string", int: "an integer", list: "an array of integers"})
_BELOW = "integer_below_min_value"
_CHAT_FIELDS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("stream", _is_bool, "a boolean"),
    ("stream_options", _is_object, "an object"),
    ("n", _is_int, "an integer"),
    ("max_tokens", _is_int, "an integer"),
    ("max_completion_tokens", _is_int, "an integer"),
    ("temperature", _is_number, "a number"),
    ("top_p", _is_number, "a number"),
    ("tools", _is_list, "an array of objects"),
    ("stop", _is_text_or_texts, "a string or an array of strings"),
)


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list):
        _refuse_type("messages", messages, "an array of objects")
    if not messages:
        _refuse("Invalid 'messages': empty array. Send at least one message.", "messages", "empty_array")
    for position, message in enumerate(messages):
        _check_message(message, f"messages[{position}]")


def _check_message(message: object, path: str) -> None:
    if not isinstance(message, dict):
        _refuse_type(path, message, "an object")
    role = _required(message, "role", f"{path}.role")
    if not isinstance(role, str):
        _refuse_type(f"{path}.role", role, "a string")
    if role not in _ROLES:
        known = ", ".join(f"'{name}'" for name in _ROLES)
        _refuse(f"Invalid value{_word(role)}. Supported values are: {known}.", f"{path}.role", "invalid_value")
    content = message.get("content")
    if isinstance(content, str) or (content is None and role in _ROLES_WITHOUT_CONTENT):
        return
    if content is None:
        _required(message, "content", f"{path}.content")
    if not isinstance(content, list):
        _refuse_type(f"{path}.content", content, "a string or an array of objects")
    for position, part in enumerate(content):
        _check_part(part, f"{path}.content[{position}]")


def _check_part(part: object, path: str) -> None:
    if not isinstance(part, dict):
        _refuse_type(path, part, "an object")
    kind = _required(part, "type", f"{path}.type")
    if not isinstance(kind, str):
        _refuse_type(f"{path}.type", kind, "a string")


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        _refuse_type("metadata", metadata, "an object")
    for key, value in metadata.items():
        if key not in _OWN and not isinstance(value, str):  # ours are checked where they are taken
            _refuse_type(f"metadata.{_shown(key)[1:-1]}", value, "a string")


def _check_input(value: object) -> None:
    """Text, texts, tokens, or lists of tokens."""
    if isinstance(value, str):
        if not value:
            _refuse("Invalid 'input': empty string. Send some text.", "input", "empty_string")
        return
    if not isinstance(value, list):
        _refuse_type("input", value, "a string or an array")
    if not value:
        _refuse("Invalid 'input': empty array. Send at least one text.", "input", "empty_array")
    kind = type(value[0])
    if kind not in _INPUT_ITEMS:
        _refuse_type("input[0]", value[0], "a string")
    _check_items(value, "input", kind)
    if kind is list:
        for position, tokens in enumerate(value):
            path = f"input[{position}]"
            if not tokens:
                _refuse(f"Invalid '{path}': empty array. Send at least one token.", path, "empty_array")
            _check_items(tokens, path, int)


def _check_items(items: list[Any], path: str, kind: type) -> None:
    if set(map(type, items)) == {kind}:  # a million tokens are looked at without a loop of ours
        return
    position = next(position for position, item in enumerate(items) if type(item) is not kind)
    _refuse_type(f"{path}[{position}]", items[position], _INPUT_ITEMS[kind])


def _check_name(value: object, path: str) -> str:
    """A string that can be stored and looked up."""
    if not isinstance(value, str):
        _refuse_type(path, value, "a string")
    if not value:
        _refuse(f"Invalid '{path}': empty string. Name one.", path, "empty_string")
    if len(value) > NAME_CHARS_MAX:
        message = (
            f"Invalid '{path}': string too long. Expected at most {NAME_CHARS_MAX} characters, but got {len(value)}."
        )
        _refuse(message, path, "string_above_max_length")
    # No store takes these: half a surrogate pair is not UTF-8, and a NUL ends a text in Postgres.
    if _NOT_STORABLE.search(value):
        _refuse(f"Invalid '{path}': it has a NUL or half a surrogate pair. Send Unicode text.", path, "invalid_value")
    return value


def _text(value: object, path: str) -> str | None:
    """None where it is left out, null or empty: the fields of a form that was not filled in."""
    return None if value is None or value == "" else _check_name(value, path)


def _switch(value: object, path: str) -> bool:
    """On unless said otherwise; OpenAI's metadata values are strings, so those are taken too."""
    if value is None or isinstance(value, bool):
        return value is not False
    if not isinstance(value, str):
        _refuse_type(path, value, "true or false")
    if value not in ("true", "false"):
        _refuse(f"Invalid value{_word(value)}. Supported values are: 'true' and 'false'.", path, "invalid_value")
    return value == "true"


def _required(container: Mapping[str, Any], name: str, path: str | None = None) -> object:
    value = container.get(name)
    if value is None:
        path = path or name
        _refuse(f"Missing required parameter: '{path}'. Send one.", path, "missing_required_parameter")
    return value


def _refuse_type(path: str, value: object, expected: str) -> NoReturn:
    message = f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead."
    _refuse(message, path, "invalid_type")


def _refuse(message: str, path: str, reason: str) -> NoReturn:
    raise BadRequest(message, reason=reason, param=path)


def _kind(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _word(text: str) -> str:
    """The value, where it is a word: anything else may be a prompt in the wrong place, and refusals are recorded."""
    return f": '{text}'" if _WORD.fullmatch(text) else ""


def _shown(text: str) -> str:
    """Quoted, short, ASCII."""
    return ascii(text[:_SHOWN_CHARS])
