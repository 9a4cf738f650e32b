"""What a person does in Temporal's web UI, by the names that the UI gives to things."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from playwright.async_api import Expect, FrameLocator, Locator, Page

# The first look at a page waits for the UI's own code, on a machine that may be busy.
expect = Expect()
expect.set_options(timeout=30_000)
_FIRST_LINKS = "rows => rows.map(row => row.querySelector('a').innerText.trim())"


@dataclass(frozen=True)
class TemporalUi:
    page: Page

    @property
    def rows(self) -> Locator:
        """What the list shows, a workflow each."""
        return self.page.get_by_role("table", name="Workflows").locator("tbody tr")

    @property
    def explanation(self) -> FrameLocator:
        """The current details: what the workflow itself has to say."""
        return self.page.locator("iframe").last.content_frame

    async def open_list(self, link: str, name: str) -> None:
        """Open a view that the UI takes, which shows it under this name."""
        await self.page.goto(link)
        await expect(self.page.get_by_role("button", name=name, exact=True)).to_be_visible()
        refused = self.page.get_by_role("heading", name="Error Filtering Workflows")
        nothing = self.page.get_by_role("heading", name="No Workflows Found")
        await expect(self.rows.or_(refused).or_(nothing).first).to_be_visible()
        assert not await refused.is_visible(), f"the UI refuses {link}"

    async def listed(self) -> set[str]:
        """The ids of the workflows in the list; each is its row's first link."""
        ids: list[str] = await self.rows.evaluate_all(_FIRST_LINKS)
        return set(ids)

    def row(self, workflow_id: str) -> Locator:
        """What the list shows of a workflow."""
        link = self.page.get_by_role("link", name=workflow_id, exact=True)
        return self.rows.filter(has=link)

    async def choose_columns(self, add: Collection[str], remove: Collection[str]) -> None:
        """Let the list show other things of each workflow."""
        await self.page.get_by_role("button", name="Configure Columns").click()
        for column in remove:
            await self.page.get_by_role("button", name=f"Remove {column} column").click()
        for column in add:
            await self.page.get_by_role("button", name=f"Add {column} column").click()
        await self.page.get_by_role("button", name="Close Workflows Table configuration").click()

    async def fold_navigation(self) -> None:
        """Give the page the room of the menu."""
        await self.page.get_by_role("button", name="Collapse Navigation").click()

    async def open_workflow(self, workflow_id: str) -> None:
        """From the list to a workflow's page."""
        await self.page.get_by_role("link", name=workflow_id, exact=True).click()

    async def open_explanation(self) -> None:
        """On a workflow's page, open the tab with its current details."""
        await self.page.get_by_role("tab", name="User Metadata").click()

    async def send_signal(self, name: str, says: str, text: str) -> None:
        """Fill in the dialog; `says` is what it should say about the signal of this name."""
        await self.page.get_by_role("button", name="More Actions").click()
        await self.page.get_by_role("menuitem", name="Send a Signal").click()
        dialog = self.page.get_by_role("dialog", name="Send a Signal")
        await dialog.get_by_role("button", name="Select a signal").click()
        await dialog.get_by_role("option", name=f"{name} {says}").click()
        await dialog.get_by_role("textbox", name="Data").fill(json.dumps(text))
        await dialog.get_by_role("button", name="Submit").click()
        await expect(self.page.locator("#workflow-signal-success-toast")).to_be_visible()

    async def open_history(self) -> None:
        """On a workflow's page, open the tab with everything that has happened to it."""
        await self.page.get_by_role("tab", name="Event History").click()

    def event(self, about: str) -> Locator:
        """The first line about something in the history."""
        return self.page.get_by_role("row").filter(has_text=about).first

    async def expand(self, event: str, about: str) -> Locator:
        """In the history, open the one event of this type about this; answers with its inside."""
        of_type = self.page.get_by_role("row").filter(has_text=event)
        await of_type.filter(has_text=about).get_by_role("button", name="Expand details").click()
        return of_type.filter(has=self.page.get_by_role("textbox", name="Input"))

    async def terminate(self, why: str) -> None:
        """End the workflow whose page this is."""
        await self.page.get_by_role("button", name="More Actions").click()
        await self.page.get_by_role("menuitem", name="Terminate").click()
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_role("textbox").fill(why)
        await dialog.get_by_role("button", name="Terminate").click()

    async def expect_status(self, status: str) -> None:
        """Wait until the workflow's page shows this status by itself."""
        shown = self.page.get_by_role("status").filter(has_text=re.compile(f"^\\s*{status}\\s*$"))
        await expect(shown).to_be_visible()
