"""What a person does in Temporal's web UI, by the names that the UI gives to things."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from playwright.async_api import Expect, FrameLocator, Locator, Page

# The first look at a page waits for the UI's own code, on a machine that may be busy.
expect = Expect()
expect.set_options(timeout=30_000)


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

    async def keep_only(self, attribute: str, value: str) -> None:
        """Narrow the list down by a search attribute."""
        await self.page.get_by_role("button", name="Add Filter").click()
        await self.page.get_by_role("menuitem", name=f"{attribute} Keyword").click()
        await self.page.get_by_role("textbox", name="Value").fill(value)
        await self.page.get_by_role("button", name="Apply").click()
        await expect(self.page).to_have_url(re.compile(re.escape(value)))

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

    async def expect_status(self, status: str) -> None:
        """Wait until the workflow's page shows this status by itself."""
        shown = self.page.get_by_role("status").filter(has_text=re.compile(f"^\\s*{status}\\s*$"))
        await expect(shown).to_be_visible()
