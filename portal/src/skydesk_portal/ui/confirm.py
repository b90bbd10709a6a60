"""A question before something that cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import panel as pn

__all__ = ["Confirmation"]


class Confirmation:
    """A question with two buttons; invisible until something is asked."""

    def __init__(self) -> None:
        self._question = pn.pane.HTML("", sizing_mode="stretch_width")
        self._yes = pn.widgets.Button(name="Yes", button_type="primary", width=160)
        self._no = pn.widgets.Button(name="No, keep it", width=120)
        self._action: Callable[[], None] | None = None
        self.view = pn.Column(
            self._question,
            pn.FlexBox(self._yes, self._no, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            visible=False,
        )
        self._yes.on_click(lambda _e: self._answer(True))
        self._no.on_click(lambda _e: self._answer(False))

    def ask(self, question: str, yes: str, action: Callable[[], None]) -> None:
        """Ask; a question that is still open is dropped.

        Parameters
        ----------
        question
            The question, as plain text.
        yes
            What the button that does it says.
        action
            Called when the answer is yes.
        """
        self._question.object = f"<div class='notice' role='alert'>{escape(question)}</div>"
        self._yes.name = yes
        self._action = action
        self.view.visible = True

    def close(self) -> None:
        """Drop the question."""
        self._action = None
        self.view.visible = False

    def _answer(self, yes: bool) -> None:
        action = self._action
        self.close()
        if yes and action is not None:
            action()
