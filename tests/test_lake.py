"""What a user hears of a lake that cannot be used, and of settings that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmcost.models import settings
from llmcost.models.errors import LakeMissing, LakeNotWritable, LakeTooNew, PriceBookError, SettingsError
from llmcost.models.lake import FORMAT_VERSION, Lake
from llmcost.models.prices import Layers
from llmcost.sql import Warehouse


def test_a_missing_lake_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LakeMissing, match="start one with: llmcost serve --lake"):
        Warehouse(tmp_path / "nowhere")


def test_a_lake_of_a_newer_program_is_not_touched(tmp_path: Path) -> None:
    Lake.create(tmp_path / "lake")
    (tmp_path / "lake" / "llmcost.json").write_text(json.dumps({"format_version": FORMAT_VERSION + 1}))

    with pytest.raises(
        LakeTooNew, match=f"has format {FORMAT_VERSION + 1}, this llmcost reads up to {FORMAT_VERSION}"
    ):
        Lake.create(tmp_path / "lake")


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LakeNotWritable, match="choose another folder with --lake"):
        Lake.create(tmp_path / "file" / "lake")


def test_a_setting_that_is_wrong_is_named_with_its_value(tmp_path: Path) -> None:
    (tmp_path / "llmcost.toml").write_text("[landing]\nsegment_seconds = 0\n")

    with pytest.raises(SettingsError, match=r'setting "landing.segment_seconds" = 0'):
        settings.load(tmp_path / "llmcost.toml")


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llmcost.toml").write_text('[pricing]\nprefer = "list"\n[landing]\nsegment_mib = 8\n')
    monkeypatch.setenv("LLMCOST_LANDING__SEGMENT_MIB", "16")
    loaded = settings.load(tmp_path / "llmcost.toml")

    assert (loaded.pricing.prefer, loaded.landing.segment_mib) == ("list", 16)


def test_conventions_of_a_user_are_checked_by_name(tmp_path: Path) -> None:
    from llmcost.models import conventions

    with pytest.raises(SettingsError, match='unknown column "colour"'):
        conventions.load({"fields": {"colour": ["x"]}})
    own = conventions.load({"fields": {"customer_id": ["account"]}})
    assert str(own.spellings["customer_id"][0]) == "account"


def test_a_price_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[[list]]\nmodel = "acme"\ninput = 1\n')

    with pytest.raises(PriceBookError, match=r'own\.toml": .*needs input and output'):
        Layers.load(tmp_path)
