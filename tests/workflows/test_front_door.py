"""What is private to `Parking` stays so: its processes use its front door."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PARKING = ROOT / "workflows/shared/parking.py"


def classes(file: Path) -> list[ast.ClassDef]:
    return [one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.ClassDef)]


def private_names(parking: ast.ClassDef) -> set[str]:
    """Every attribute that it sets on itself, and every method of its own."""
    names = {
        one.name for one in parking.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(parking):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def kinds_of_parking() -> list[tuple[Path, ast.ClassDef]]:
    """Every class that parks, by itself or by what it is derived from."""
    found = [
        (file, one) for file in sorted((ROOT / "workflows").rglob("*.py")) for one in classes(file)
    ]
    names, kinds = {"Parking"}, list[tuple[Path, ast.ClassDef]]()
    while True:
        new = [
            (file, one)
            for file, one in found
            if one.name not in names
            and any(ast.unparse(base).split(".")[-1] in names for base in one.bases)
        ]
        if not new:
            return kinds
        kinds += new
        names |= {one.name for _, one in new}


def test_no_process_reaches_behind_the_front_door_of_parking() -> None:
    [parking] = (one for one in classes(PARKING) if one.name == "Parking")
    private = private_names(parking)
    assert {"_wake", "_discarded_by", "_attempts", "_park"} <= private
    kinds = kinds_of_parking()
    assert {"BillCall", "Reconciling", "ReconcileVapi"} <= {one.name for _, one in kinds}
    behind = {
        f"{file.name}:{node.lineno} {one.name}.{node.attr}"
        for file, one in kinds
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and node.attr in private
    } | {
        f"{file.name}:{node.lineno} {one.name}.{node.name}"
        for file, one in kinds
        for node in one.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in private
    }
    assert behind == set()
