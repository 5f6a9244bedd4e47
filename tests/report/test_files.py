import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxswarm.errors import InputError
from jaxswarm.report.files import AppendLog, as_document, read_json, read_lines, replace_json
from jaxswarm.report.rundir import NodeCard

FULL = Path("/dev/full")
"""A device on which every write says that the disk is full."""

TEXT = "ünï\n<b>\x00\u2028\r half of a pair: \ud83d"

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_a_log_gives_back_what_was_appended_by_all_who_opened_it(tmp_path: Path):
    for n in range(3):
        log = AppendLog(tmp_path / "runs" / "log.jsonl")
        log.append({"n": n, "text": TEXT}, durable=n == 1)
        log.close()
    assert list(read_lines(tmp_path / "runs" / "log.jsonl")) == [
        (n + 1, {"n": n, "text": TEXT}) for n in range(3)
    ]


def test_a_torn_last_line_stays_in_the_file_and_harms_no_other_line(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    log = AppendLog(path)
    log.append({"n": 0})
    log.append({"text": "zürich"})
    log.close()
    whole = path.read_bytes()
    torn = whole[: whole.index(b"\xbc")]  # in the middle of a character
    path.write_bytes(torn)
    assert list(read_lines(path)) == [(1, {"n": 0}), (2, None)]

    log = AppendLog(path)
    log.append({"n": 2})
    log.close()
    assert path.read_bytes().startswith(torn)
    assert list(read_lines(path)) == [(1, {"n": 0}), (2, None), (3, {"n": 2})]


def test_a_line_that_only_lacks_its_newline_is_whole(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 0}')
    log = AppendLog(path)
    log.append({"n": 1})
    log.close()
    assert list(read_lines(path)) == [(1, {"n": 0}), (2, {"n": 1})]


@pytest.mark.parametrize("line", ["[1]", "3", "nul", '{"a": ', "\x00"])
def test_a_line_that_is_no_object_is_unreadable(tmp_path: Path, line: str):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{line}\n\n{{"n": 1}}\n')
    assert list(read_lines(path)) == [(1, None), (3, {"n": 1})]


def test_a_missing_file_has_no_lines_and_no_document(tmp_path: Path):
    assert list(read_lines(tmp_path / "none")) == []
    assert read_json(tmp_path / "none") is None


def test_array_scalars_are_written_as_numbers(tmp_path: Path):
    replace_json(tmp_path / "figures.json", {"loss": np.float32(0.5), "n": np.int64(3)})
    assert read_json(tmp_path / "figures.json") == {"loss": 0.5, "n": 3.0}


def test_a_document_is_never_seen_in_part(tmp_path: Path):
    path = tmp_path / "status.json"
    writer = (
        "import sys, itertools; from pathlib import Path\n"
        "from jaxswarm.report.files import replace_json\n"
        "for n in itertools.count(): replace_json(Path(sys.argv[1]), {'n': n, 'x': 'y' * 20000})"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, str(path)])
    try:
        seen = set()
        while len(seen) < 50:
            assert process.poll() is None
            document = read_json(path)
            if path.exists():
                assert document is not None or not seen
            if document is not None:
                assert len(document["x"]) == 20000
                seen.add(document["n"])
    finally:
        process.kill()
        process.wait()


def test_replacing_leaves_no_draft_behind(tmp_path: Path):
    replace_json(tmp_path / "a.json", {})
    replace_json(tmp_path / "a.json", {"n": 1})
    assert os.listdir(tmp_path) == ["a.json"]


def test_as_document_turns_mappings_into_dicts():
    card = NodeCard(peer="p", addresses=("a",), pid=3)
    assert as_document(card) == {"peer": "p", "addresses": ("a",), "pid": 3}


@needs_full
def test_a_full_disk_is_one_clear_line():
    log = AppendLog(FULL)
    with pytest.raises(InputError, match=r"/dev/full: got 'No space left.*free some space"):
        log.append({"n": 1})
    log.close()


def test_a_directory_in_the_files_place_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match="Is a directory"):
        AppendLog(tmp_path)
    with pytest.raises(InputError, match="choose another directory"):
        replace_json(tmp_path, {})
