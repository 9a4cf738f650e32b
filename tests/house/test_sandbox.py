"""What the sandbox loads anew for each run of a workflow."""

import ast
from pathlib import Path

import pytest

from worker import PASSED_THROUGH
from workflows.bill_call import BillCall
from workflows.bill_message import BillMessage
from workflows.settle_payment import SettlePayment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("process", [BillCall, BillMessage, SettlePayment])
def test_a_process_of_which_each_webhook_has_one_loads_no_other(process: type) -> None:
    """Every module that it imports is loaded again for each call, message and payment."""
    source = ROOT.joinpath(*process.__module__.split(".")).with_suffix(".py").read_text()
    imported = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert {module for module in imported if module.startswith("workflows")}
    assert not {
        module
        for module in imported
        if module.startswith("workflows")
        and not any(module == one or module.startswith(f"{one}.") for one in PASSED_THROUGH)
    }
