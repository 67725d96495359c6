"""What an operator lets nobody read in the lake: denied attributes, and values that only a keyed hash stands for.

A hash, and not a random word, so that one user stays one user; keyed, because user ids can be guessed and
a bare hash of each guess compared. It stands in every place where landing knows the value: the promoted column
under each of its spellings, `attributes`, `resource_attributes`, events and logs. An attribute that holds the
value inside JSON is read, and then not landed.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..models.conventions import Conventions, Spelling
from ..models.errors import SettingsError
from ..models.schema import DIMENSIONS
from ..models.settings import Content
from .attributes import Attributes
from .carriers import WHOLE, Carriers
from .notes import Notes

MARK = "hmac:"
"""What a hashed value begins with; 32 hex digits follow, the first half of HMAC-SHA256 over its UTF-8."""

KEY_BYTES_MIN = 16

_BLANK = pa.array(["", "None", "null"])
"""Texts that stand for no value; promotion passes over them."""


@dataclass(frozen=True)
class Privacy:
    """The settings content.allow, content.deny and content.hash, with the key they ask for."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, content: Content, key: bytes) -> Privacy:
        """As the settings say, with the key from hash_key()."""
        return cls(content.allow, content.deny, content.hash, key)


def hash_key(content: Content) -> bytes:
    """The key for content.hash; empty where nothing is to be hashed.

    Raises SettingsError if there is none, or two, or one that could be guessed. No message holds the key.
    """
    if not content.hash:
        return b""
    wish = f"content.hash = {list(content.hash)}"
    if content.hash_key is not None and content.hash_key_file is not None:
        raise SettingsError(f"{wish} has two keys: set content.hash_key_file or LLMCOST_CONTENT__HASH_KEY, not both")
    if content.hash_key is not None:
        source, key = "LLMCOST_CONTENT__HASH_KEY", content.hash_key.get_secret_value().encode()
    elif content.hash_key_file is not None:
        source, key = f'"{content.hash_key_file}"', _read_key(content.hash_key_file)
    else:
        raise SettingsError(
            f"{wish} needs a key: make one with: openssl rand -hex 32 > hash.key, keep it as long as the lake, "
            "and set content.hash_key_file to it, or LLMCOST_CONTENT__HASH_KEY to what is in it"
        )
    key = key.strip()
    if len(key) < KEY_BYTES_MIN:
        raise SettingsError(
            f"the key for content.hash, from {source}, has {len(key)} bytes, so that it could be guessed: "
            f"it needs {KEY_BYTES_MIN} or more, such as: openssl rand -hex 32"
        )
    return key


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f'cannot read content.hash_key_file = "{path}": {error.strerror}') from error


class Hasher:
    """Puts hashes in place of values; one for each decoder."""

    def __init__(self, conventions: Conventions, privacy: Privacy) -> None:
        """The entries of `privacy.hash` are dimensions, in all their spellings, or globs over attribute keys."""
        self._key = privacy.key
        self._dimensions = frozenset(privacy.hash) & frozenset(DIMENSIONS)
        self._spellings = frozenset(s for name in self._dimensions for s in conventions.spellings.get(name, ()))
        self._whole = {s.key: s.path for s in self._spellings if s.path in (None, WHOLE)}
        self._paths: dict[str, list[str]] = {}
        for spelling in self._spellings:
            if spelling.path not in (None, WHOLE):
                self._paths.setdefault(spelling.key, []).append(str(spelling.path))
        globs = [entry for entry in privacy.hash if entry not in DIMENSIONS]
        matches = re.compile("|".join(map(translate, globs)) or r"(?!)").match
        self._is_hashed = lru_cache(maxsize=65536)(lambda key: key in self._whole or matches(key) is not None)
        self.is_idle = not privacy.hash

    def hidden(self, column: str, value: str) -> str:
        """A value as it may stand in a promoted column."""
        return self._hash(value) if column in self._dimensions else value

    def texts(self, texts: pa.StringArray) -> pa.StringArray:
        """A hash for each text, made once for each distinct one; blanks and NULLs stay."""
        distinct = texts.dictionary_encode()
        words = distinct.dictionary
        hashed = pa.array([self._hash(word) for word in words.to_pylist()], pa.string())
        return pc.if_else(pc.is_in(words, _BLANK), words, hashed).take(distinct.indices)

    def is_read_in(self, spelling: Spelling) -> bool:
        """Whether what this spelling reads out of JSON is to be hashed."""
        return spelling in self._spellings

    def hide_values(self, attributes: Attributes, carriers: Carriers) -> None:
        """Hash what stands alone in an attribute. Comes before anything is read from `attributes`."""
        for key in filter(self._is_hashed, attributes.keys):
            positions = attributes.find(key)
            positions = positions[attributes.values.text_at[positions] >= 0]
            if len(positions):
                texts = attributes.texts(attributes.values.text_at[positions])
                if self._whole.get(key) == WHOLE:  # "u1" and u1 are one user
                    [texts] = carriers.read(texts, [WHOLE])
                attributes.put(positions, self.texts(texts))

    def hide_carriers(self, attributes: Attributes, carriers: Carriers, notes: Notes) -> None:
        """Drop the attributes that hold a value to be hashed inside JSON, noted as `carrier_dropped`.

        Comes after everything that is read out of them. JSON that cannot be read is dropped too: the value may
        stand in it.
        """
        for key, paths in self._paths.items():
            positions = attributes.find(key)
            positions = positions[attributes.values.text_at[positions] >= 0]
            if self._is_hashed(key) or not len(positions):
                continue
            texts = attributes.texts(attributes.values.text_at[positions])
            holds = carriers.is_shut(texts)
            for found in carriers.read(texts, paths):
                holds |= np.asarray(found.is_valid())
            attributes.take_out(positions[holds])
            notes.add("carrier_dropped", attributes.rows[positions[holds]])

    def _hash(self, value: str) -> str:
        return MARK + hmac.digest(self._key, value.encode(), "sha256").hex()[:32]
