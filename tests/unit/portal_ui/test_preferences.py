"""Preferences are kept per person, checked, and never keep a page from opening."""

import pytest

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.preferences import Preferences
from skydesk_portal.services.preferences import PreferenceService
from skydesk_portal.storage.preferences import PreferenceStore

ANN, BOB = Identity("ann"), Identity("bob")


def test_preferences_are_kept_and_belong_to_one_person(tmp_path):
    service = PreferenceService(PreferenceStore(tmp_path / "p.sqlite"))
    assert service.find(ANN) == Preferences()
    assert not (tmp_path / "p.sqlite").exists()
    service.change(ANN, theme="dark", text_percent=150)
    service.change(ANN, alert_filters={"red": "band = 'r'"})
    again = PreferenceService(PreferenceStore(tmp_path / "p.sqlite"))
    assert again.find(ANN) == Preferences("dark", 150, alert_filters={"red": "band = 'r'"})
    assert again.find(BOB) == Preferences()


@pytest.mark.parametrize(
    "change",
    [{"theme": "pink"}, {"text_percent": 110}, {"text_percent": True}, {"release": "../x"}, {"colour": "red"},
     {"alert_filters": {"": "x"}}, {"alert_filters": {"a": " "}}, {"alert_filters": {str(n): "x" for n in range(51)}}],
)  # fmt: skip
def test_what_is_no_preference_is_refused_and_changes_nothing(tmp_path, change):
    service = PreferenceService(PreferenceStore(tmp_path / "p.sqlite"))
    service.change(ANN, theme="light")
    with pytest.raises(UsageError):
        service.change(ANN, **change)
    assert service.find(ANN) == Preferences("light")


def test_a_page_opens_with_preferences_that_cannot_be_read(tmp_path):
    (tmp_path / "p.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    assert PreferenceService(PreferenceStore(tmp_path / "p.sqlite")).find(ANN) == Preferences()
    store = PreferenceStore(tmp_path / "q.sqlite")
    store.change("ann", lambda _old: {"theme": "plaid", "text_percent": 200, "later": 1})
    assert PreferenceService(store).find(ANN) == Preferences(text_percent=200)
