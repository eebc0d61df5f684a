"""The one exception for a user's mistake."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: one line that says what was given, what is valid, what to type instead.

    Entry points print it after ``error:`` and exit with status 2; it never shows as a traceback.
    """
