"""A GPU gives the results of the CPU."""

import csv
from pathlib import Path

import pytest
import torch

from cotune_bench import cli
from cotune_bench.storage.records import Record, RecordStore


def trained(method: str, device: str) -> tuple[Record, list[list[float]]]:
    """Record and rows of metrics.csv of a short run on digits."""
    results = Path(device)
    assert cli.main([f"method={method}", "protocol.updates=20", f"device={device}", f"results={results}"]) == 0
    (record,) = RecordStore(results).read()[0]
    with (results / "runs" / record.key / "metrics.csv").open() as file:
        return record, [list(map(float, row)) for row in list(csv.reader(file))[1:]]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")
@pytest.mark.filterwarnings("default")  # operators without a deterministic form
@pytest.mark.parametrize("method", ["finetune", "l2sp", "delta", "bss", "cotuning"])
def test_a_run_on_a_gpu_agrees_with_the_cpu(here, method):
    (cpu, expected), (gpu, curve) = trained(method, "cpu"), trained(method, "cuda")
    assert gpu.environment["device"] == torch.cuda.get_device_name()
    assert gpu.key == cpu.key
    torch.testing.assert_close(torch.tensor(curve), torch.tensor(expected), rtol=1e-2, atol=1e-4)
    assert gpu.nll == pytest.approx(cpu.nll, rel=1e-2)
    assert gpu.accuracy == pytest.approx(cpu.accuracy, abs=1.0)
