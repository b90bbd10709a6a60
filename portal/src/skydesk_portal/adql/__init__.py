"""The strict ADQL front end: text in, checked engine SQL and column metadata out; it runs nothing."""

from skydesk_portal.adql.translate import translate
from skydesk_portal.adql.translation import Translation

__all__ = ["Translation", "translate"]
