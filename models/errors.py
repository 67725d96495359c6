"""Every error a user can meet, in one tree.

    LlmcostError
    ├── UsageError          what was typed cannot be answered      (exit code 2)
    ├── SettingsError       llmcost.toml or LLMCOST_* is wrong     (exit code 2)
    ├── PriceBookError      a price file is wrong                  (exit code 2)
    ├── OutcomeFileError    a file of outcomes is wrong            (exit code 2)
    ├── ReportError         a provider's report is wrong           (exit code 2)
    ├── BudgetFileError     the file of budgets is wrong           (exit code 2)
    ├── LakeError           the lake cannot be used                (exit code 3)
    │   ├── LakeMissing
    │   ├── LakeNotWritable
    │   ├── LakeTooNew
    │   └── LakeBusy
    └── LandingError        a segment could not be landed          (exit code 4)

A message says what, which value, and what to do next, in one line: the CLI prints it as it stands.
"""

from __future__ import annotations


class LlmcostError(Exception):
    """Base of all errors that are the user's to read; `exit_code` is the process's."""

    exit_code = 1


class UsageError(LlmcostError):
    """The question itself is wrong: an unknown rollup, window, column or option value."""

    exit_code = 2


class SettingsError(LlmcostError):
    """A settings file or environment variable does not hold what it must."""

    exit_code = 2


class PriceBookError(LlmcostError):
    """A user's price file does not hold what it must."""

    exit_code = 2


class OutcomeFileError(LlmcostError):
    """A file of outcomes does not hold what it must."""

    exit_code = 2


class ReportError(LlmcostError):
    """A report of a provider cannot be read, or is not what it is taken for."""

    exit_code = 2


class BudgetFileError(LlmcostError):
    """The file of budgets does not hold what it must."""

    exit_code = 2


class LakeError(LlmcostError):
    """The lake folder cannot be used."""

    exit_code = 3


class LakeMissing(LakeError):
    """There is no lake at this path."""


class LakeNotWritable(LakeError):
    """The lake is there, but this process may not write to it."""


class LakeTooNew(LakeError):
    """The lake was written by a newer llmcost than this one."""


class LakeBusy(LakeError):
    """Another process does what only one at a time may do to the lake."""


class LandingError(LlmcostError):
    """A journal segment could not be turned into lake files."""

    exit_code = 4
