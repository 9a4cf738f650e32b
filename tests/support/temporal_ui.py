"""Use Temporal's web UI as a person does, by the names of things in the UI."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from playwright.async_api import Expect, FrameLocator, Locator, Page

# The first page waits until the UI's code is loaded, on a machine that may be busy.
expect = Expect()
expect.set_options(timeout=30_000)
_FIRST_LINKS = "rows => rows.map(row => row.querySelector('a').innerText.trim())"


@dataclass(frozen=True)
class TemporalUi:
    page: Page

    @property
    def rows(self) -> Locator:
        """The rows of the list, one a workflow."""
        return self.page.get_by_role("table", name="Workflows").locator("tbody tr")

    @property
    def explanation(self) -> FrameLocator:
        """The current details, which the workflow writes."""
        return self.page.locator("iframe").last.content_frame

    async def open_list(self, link: str, name: str) -> None:
        """Open a view, which the UI must accept and show under this name."""
        await self.page.goto(link)
        await expect(self.page.get_by_role("button", name=name, exact=True)).to_be_visible()
        refused = self.page.get_by_role("heading", name="Error Filtering Workflows")
        nothing = self.page.get_by_role("heading", name="No Workflows Found")
        await expect(self.rows.or_(refused).or_(nothing).first).to_be_visible()
        assert not await refused.is_visible(), f"the UI refuses {link}"

    async def listed(self) -> set[str]:
        """Return the ids of the workflows in the list: the first link of each row."""
        ids: list[str] = await self.rows.evaluate_all(_FIRST_LINKS)
        return set(ids)

    def row(self, workflow_id: str) -> Locator:
        """Return the row of a workflow in the list."""
        link = self.page.get_by_role("link", name=workflow_id, exact=True)
        return self.rows.filter(has=link)

    async def choose_columns(self, add: Collection[str], remove: Collection[str]) -> None:
        """Add and remove columns of the list."""
        await self.page.get_by_role("button", name="Configure Columns").click()
        for column in remove:
            await self.page.get_by_role("button", name=f"Remove {column} column").click()
        for column in add:
            await self.page.get_by_role("button", name=f"Add {column} column").click()
        await self.page.get_by_role("button", name="Close Workflows Table configuration").click()

    async def fold_navigation(self) -> None:
        """Fold the menu, so that the page is wider."""
        await self.page.get_by_role("button", name="Collapse Navigation").click()

    async def open_workflow(self, workflow_id: str) -> None:
        """Go from the list to a workflow's page."""
        await self.page.get_by_role("link", name=workflow_id, exact=True).click()

    async def open_explanation(self) -> None:
        """On a workflow's page, open the tab with its current details."""
        await self.page.get_by_role("tab", name="User Metadata").click()

    async def send_signal(self, name: str, says: str, text: str) -> None:
        """Send a signal by the dialog. `says` is the description that the dialog must show."""
        await self.page.get_by_role("button", name="More Actions").click()
        await self.page.get_by_role("menuitem", name="Send a Signal").click()
        dialog = self.page.get_by_role("dialog", name="Send a Signal")
        await dialog.get_by_role("button", name="Select a signal").click()
        await dialog.get_by_role("option", name=f"{name} {says}").click()
        await dialog.get_by_role("textbox", name="Data").fill(json.dumps(text))
        await dialog.get_by_role("button", name="Submit").click()
        await expect(self.page.locator("#workflow-signal-success-toast")).to_be_visible()

    async def open_history(self) -> None:
        """On a workflow's page, open the tab with its history."""
        await self.page.get_by_role("tab", name="Event History").click()

    def event(self, about: str) -> Locator:
        """Return the first row of the history that contains this text."""
        return self.page.get_by_role("row").filter(has_text=about).first

    async def expand(self, event: str, about: str) -> Locator:
        """In the history, open the one event of this type about this; return its details."""
        of_type = self.page.get_by_role("row").filter(has_text=event)
        await of_type.filter(has_text=about).get_by_role("button", name="Expand details").click()
        return of_type.filter(has=self.page.get_by_role("textbox", name="Input"))

    async def terminate(self, why: str) -> None:
        """Terminate the workflow whose page this is."""
        await self.page.get_by_role("button", name="More Actions").click()
        await self.page.get_by_role("menuitem", name="Terminate").click()
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_role("textbox").fill(why)
        await dialog.get_by_role("button", name="Terminate").click()

    async def expect_status(self, status: str) -> None:
        """Wait until the workflow's page shows this status, without a reload."""
        shown = self.page.get_by_role("status").filter(has_text=re.compile(f"^\\s*{status}\\s*$"))
        await expect(shown).to_be_visible()
