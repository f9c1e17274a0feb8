"""The loopback Hub works with the unmodified clients in both transfer modes."""

from pathlib import Path

from hub_parts import ORG, run_python
from localhub import LocalHub

_ROUND_TRIP = """
import os, sys
from huggingface_hub import HfApi, hf_hub_download
data, repo_id = os.urandom(300_000), sys.argv[1]
api = HfApi()
api.create_repo(repo_id, repo_type="dataset")
api.upload_file(
    path_or_fileobj=data, path_in_repo="data/a.parquet", repo_id=repo_id, repo_type="dataset"
)
assert open(hf_hub_download(repo_id, "data/a.parquet", repo_type="dataset"), "rb").read() == data
"""


def test_a_file_goes_up_and_comes_back(hub: LocalHub, tmp_path: Path) -> None:
    done = run_python(hub, tmp_path, _ROUND_TRIP, f"{ORG}/one")
    assert done.returncode == 0, done.stderr
    sent = hub.totals()
    assert ("xorb_put" in sent) == hub.xet_enabled
    assert ("lfs_put" in sent) != hub.xet_enabled


def test_faults_hit_the_route_they_are_aimed_at(hub: LocalHub, tmp_path: Path) -> None:
    hub.fault("commit", "status", status=503)
    done = run_python(hub, tmp_path, _ROUND_TRIP, f"{ORG}/two")
    assert "503" in done.stderr
    assert [entry["fault"] for entry in hub.log("commit")] == ["status"]
