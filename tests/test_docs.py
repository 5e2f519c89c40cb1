"""The README, the docstrings and the notebooks run as they stand."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[1]


def _modules() -> list[str]:
    """Names of all modules, from the files, since the root is on the search path."""
    files = [*(ROOT / "kerasqnn").rglob("*.py")]
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    for room in ("layers", "export"):
        names += [f"kerasqnn.{room}.{f.stem}" for f in (ROOT / room).glob("*.py")]
    names = [n.removesuffix(".__init__") for n in names if ".templates." not in n]
    assert len(names) > 30
    return sorted(names)


def test_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session()  # automatic layer names count from the start again
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) >= 4
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert (tmp_path / "build" / "kerasqnn.json").is_file()


def test_docstring_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    attempted = 0
    for name in _modules():
        module = importlib.import_module(name)
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted > 30


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda p: p.name
)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    loaded = nbformat.read(notebook, as_version=4)
    assert "assert" in loaded.cells[-1].source, "a notebook ends in assertions"
    NotebookClient(
        loaded, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()


def test_there_is_a_notebook() -> None:
    assert list((ROOT / "examples").glob("*.ipynb"))
