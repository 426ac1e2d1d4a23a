"""The generated page of the instruction set."""

from __future__ import annotations

from pathlib import Path

import pytest
from vta_arch.describe import isa_page, main
from vta_arch.errors import DataError
from vta_arch.isa import AluOp, Memory, Opcode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "isa.md"


def test_docs_are_up_to_date(tmp_path: Path) -> None:
    main(tmp_path / "isa.md")
    assert PAGE.read_text(encoding="utf-8") == (tmp_path / "isa.md").read_text(encoding="utf-8"), "run make docs"


def test_page_names_everything() -> None:
    page = isa_page()
    for name in (*Opcode.__members__, *Memory.__members__, *AluOp.__members__, "INDEX_RANGE", "dst_factor_out"):
        assert name in page


def test_unwritable_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        main(tmp_path / "none" / "isa.md")
