"""Several processes split the work of one study."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from tests.faults.conftest import Command, results

Made = tuple[Command, dict[str, Any], float]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lowres")


def test_two_processes_of_torchrun_share_a_wave(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = dataclasses.replace(command(), launcher=TORCHRUN)
    process = made.start("--json")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    summary = json.loads(stdout)
    assert results(summary) == results(undisturbed[1])
    assert (summary["fits"]["trained"], summary["fits"]["reused"]) == (18, 0)
    assert stderr.count("plan: ") == 1
    kept = [json.loads(path.read_text()) for path in (made.folder / "store" / "fits").glob("*/fit.json")]
    assert {record["provenance"]["process"] for record in kept} == {0, 1}
    assert made.finish("--force")["fits"]["trained"] == 18
    again = made.finish()
    assert again["fits"]["reused"] == 18
    assert results(again) == results(summary)
