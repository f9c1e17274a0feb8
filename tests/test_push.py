"""`factory push` to the loopback Hub: sent files, rejected pushes, messages."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from build_parts import shard
from hub_parts import ORG, ROOT, client_env, remote_sha256, run_factory, run_python, set_sha256
from hub_sets import small_set
from localhub import LocalHub
from quick_python import python

import factory.sharing.push_dataset as pushing
from factory.common.errors import Failure
from factory.gates.duplicates import NearDuplicates
from factory.gates.run import run_gates
from factory.hub.publish import Publication

REPO = f"{ORG}/digits"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset with more images: other names and numbers of shards."""
    folder = tmp_path_factory.mktemp("grown")
    small_set(folder)
    return small_set(folder, per_class=9)


def push(hub: LocalHub, home: Path, out: Path, *options: str, **env: Any) -> dict[str, Any]:
    """Push, check that it succeeds, and return its report."""
    done = run_factory(hub, home, "push", out, REPO, "--quiet", "--json", *options, **env)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def refused(hub: LocalHub, home: Path, *arguments: object, status: int = 2, **env: Any) -> str:
    """Run a push that must end with one line and an exit status; return the line."""
    done = run_factory(hub, home, "push", *arguments, "--quiet", **env)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def start(hub: LocalHub, home: Path, out: Path) -> subprocess.Popen[str]:
    """Start a push and return while it is running."""
    return subprocess.Popen(
        [python(), "-m", "factory", "push", str(out), REPO, "--quiet"],
        env=client_env(hub, home),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(seen: Callable[[], object], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)


def titles(hub: LocalHub, kind: str = "datasets") -> list[str]:
    return [one.title for one in hub.repos[kind, REPO].commits.values()][1:]


def content_route(hub: LocalHub) -> str:
    return "xorb_put" if hub.xet_enabled else "lfs_put"


def test_a_push_sends_only_differences(
    hub: LocalHub, out: Path, grown: Path, tmp_path: Path
) -> None:
    first = push(hub, tmp_path / "home", out, "--commit-message", "the first")
    assert (first["created"], first["committed"], first["deleted"]) == (True, True, [])
    assert remote_sha256(hub, REPO) == set_sha256(out, REPO)
    assert titles(hub) == ["the first"]
    shown = hub.read_text_file(hub.repos["datasets", REPO].at("main"), "README.md").decode()
    assert f'load_dataset("{REPO}", ' in shown and "directory" not in shown
    large = [path for path in out.rglob("*") if path.suffix in (".parquet", ".jpg", ".png")]
    assert first["sent_bytes"] == sum(path.stat().st_size for path in large)

    # As after a kill between the commit and its tag: only the tag is made.
    hub.clear_log()
    again = push(hub, tmp_path / "home", out, "--tag", "v1")
    assert (again["committed"], again["commit"]) == (False, first["commit"])
    assert not hub.log("commit") and not hub.log(content_route(hub))
    assert hub.repos["datasets", REPO].tags == {"v1": first["commit"]}

    # From a cache that knows nothing: what the Hub has is found there.
    dry = push(hub, tmp_path / "other", grown, "--dry-run")
    assert remote_sha256(hub, REPO) == set_sha256(out, REPO)
    changed = push(hub, tmp_path / "other", grown, "--tag", "v2")
    assert (changed["added"], changed["deleted"]) == (dry["added"], dry["deleted"])
    assert shard(out, index=1).relative_to(out).as_posix() in changed["deleted"]
    assert remote_sha256(hub, REPO, "v2") == set_sha256(grown, REPO)
    assert remote_sha256(hub, REPO, "v1") == set_sha256(out, REPO)
    total = changed["add_bytes"] + sum(
        (grown / name).stat().st_size
        for name in set_sha256(grown, REPO)
        if name not in changed["added"]
    )
    assert changed["sent_bytes"] + changed["reused_bytes"] == total


COUNTED = """
import json, os, sys
from collections import Counter
from pathlib import Path

opened = Counter()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        path = Path(os.fsdecode(arguments[0]))
        if path.suffix == ".parquet" or path.name == "manifest.json":
            opened[path.name] += 1

sys.addaudithook(watch)
from factory.cli.main import main

main(sys.argv[1:])
sys.stderr.write(json.dumps(opened))
"""


def test_shards_are_read_once_to_be_verified(hub: LocalHub, out: Path, tmp_path: Path) -> None:
    done = run_python(hub, tmp_path, COUNTED, "push", out, REPO, "--quiet")
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stderr.splitlines()[-1])
    # Its own file, the newest generation before and after, and as sent.
    assert opened.pop("manifest.json") == 4
    # Then the client reads the first 512 bytes of each shard, and sends it: with Xet in code of its
    # own, with plain LFS here. The hash that plain LFS announces is the manifest's.
    times = 2 if hub.xet_enabled else 3
    assert opened == dict.fromkeys((one.name for one in out.rglob("*.parquet")), times)
    hub.clear_log()
    again = run_python(hub, tmp_path, COUNTED, "push", out, REPO, "--quiet")
    opened = json.loads(again.stderr.splitlines()[-1])
    assert set(opened.values()) == {1, 4}, "nothing is sent, so shards are only verified"
    # Before and after they are verified, which may take hours.
    asked = Counter(entry["route"] for entry in hub.log())
    assert sorted(asked.values()) == [1, 1, 2, 2], asked


CHANGED = """
import sys

import factory.sharing.push_dataset as pushing
from factory.cli.main import main

verified = pushing.verify_set

def then_change(out, **options):
    report = verified(out, **options)
    shard = next(out.rglob("*.parquet"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    return report

pushing.verify_set = then_change
main(sys.argv[1:])
"""


@pytest.mark.parametrize("part_size", [1024, 1024**2])
def test_a_shard_that_changes_after_it_was_verified_is_not_published(
    hub: LocalHub, out: Path, tmp_path: Path, part_size: int
) -> None:
    if hub.xet_enabled and part_size == 1024:
        pytest.skip("only plain LFS sends parts")
    hub.part_size = part_size
    changing = shutil.copytree(out, tmp_path / "out")
    done = run_python(hub, tmp_path, CHANGED, "push", changing, REPO, "--quiet")
    assert done.returncode == 1
    assert ".parquet: changed while it was being pushed" in done.stderr, done.stderr
    assert "trying again" not in done.stderr
    assert not hub.log("commit")


def test_a_part_that_is_sent_again_is_hashed_once(out: Path, tmp_path: Path) -> None:
    with LocalHub(xet=False) as hub:
        hub.part_size = 1024
        hub.fault("lfs_put", "status", skip=2)
        push(hub, tmp_path, out)
        assert len({one["status"] for one in hub.log("lfs_put")}) == 2
        assert remote_sha256(hub, REPO) == set_sha256(out, REPO)


def test_a_branch_is_made_and_strangers_files_stay(
    either_hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    hub = either_hub
    push(hub, tmp_path, out)
    repo = hub.repos["datasets", REPO]
    files = {**repo.at("main").files, "LICENSE": hub.regular_blob(b"terms")}
    files["data/old.parquet"] = hub.regular_blob(b"old")
    files["scores.json"] = hub.regular_blob(b"of other rows")
    repo.add_commit("main", "by hand", "", "somebody", files)
    report = push(hub, tmp_path, out, "--revision", "next")
    assert report["deleted"] == ["data/old.parquet", "scores.json"]
    expected = set_sha256(out, REPO).keys() | {"LICENSE"}
    assert remote_sha256(hub, REPO, "next").keys() == expected
    assert "data/old.parquet" in repo.at("main").files


def test_a_push_resumes_after_a_kill_during_upload(
    hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    hub.fault(content_route(hub), "delay", seconds=60, skip=0 if hub.xet_enabled else 2, times=None)
    running = start(hub, tmp_path, out)
    stopped = 1 if hub.xet_enabled else 3
    wait_for(lambda: len(hub.log(content_route(hub))) >= stopped)
    running.kill()
    running.communicate()
    assert not hub.log("commit")
    assert remote_sha256(hub, REPO) == {}, "nothing is visible before the commit"
    hub.clear_faults()
    push(hub, tmp_path, out)
    assert remote_sha256(hub, REPO) == set_sha256(out, REPO)
    assert len(titles(hub)) == 1


def test_concurrent_pushes_are_not_mixed(
    either_hub: LocalHub, out: Path, grown: Path, tmp_path: Path
) -> None:
    hub = either_hub
    hub.fault("commit", "delay", seconds=30, times=1)
    slow = start(hub, tmp_path / "slow", out)
    wait_for(lambda: hub.log("commit"))
    push(hub, tmp_path / "fast", grown)
    hub.wake.set()
    _, said = slow.communicate(timeout=120)
    assert slow.returncode == 1
    assert "another push was faster" in said.strip().splitlines()[-1]
    assert remote_sha256(hub, REPO) == set_sha256(grown, REPO)
    push(hub, tmp_path / "slow", out)
    assert remote_sha256(hub, REPO) == set_sha256(out, REPO)


def test_two_pushes_of_the_same_set_both_end_well(
    either_hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    hub = either_hub
    hub.fault("commit", "delay", seconds=30, times=1)
    slow = start(hub, tmp_path / "slow", out)
    wait_for(lambda: hub.log("commit"))
    push(hub, tmp_path / "fast", out)
    hub.wake.set()
    _, said = slow.communicate(timeout=120)
    assert slow.returncode == 0, said
    assert len(titles(hub)) == 1


def test_a_commit_that_hangs_is_given_up_and_made_once(
    either_hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    hub = either_hub
    hub.fault("commit", "delay", seconds=60)
    report = push(hub, tmp_path, out, DATA_FACTORY_HUB_PATIENCE_S="9")
    hub.wake.set()
    assert report["retries"] == 1
    wait_for(lambda: [entry["status"] for entry in hub.log("commit")].count(412) == 1)
    assert len(titles(hub)) == 1
    assert remote_sha256(hub, REPO) == set_sha256(out, REPO)


@pytest.mark.parametrize("what", ["token revoked", "repository deleted"])
def test_a_repository_or_token_lost_during_a_push_is_reported(
    either_hub: LocalHub, out: Path, tmp_path: Path, what: str
) -> None:
    hub = either_hub
    hub.fault(content_route(hub), "delay", seconds=30, times=None)
    running = start(hub, tmp_path, out)
    wait_for(lambda: hub.log(content_route(hub)))
    repo = hub.repos["datasets", REPO]
    if what == "token revoked":
        hub.tokens.clear()
    else:
        del hub.repos["datasets", REPO]
    hub.clear_faults()
    hub.wake.set()
    _, said = running.communicate(timeout=120)
    assert running.returncode == 2, said
    line = said.strip().splitlines()[-1]
    assert line.startswith(REPO)
    assert ("401" in line and "hf auth login" in line) if "token" in what else "deleted" in line
    assert len(repo.commits) == 1


def test_a_report_is_sent_only_if_asked_and_stays(
    either_hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    line = refused(either_hub, tmp_path, copy, REPO, "--report")
    assert "report.html not found; write it with" in line
    (copy / "report.html").write_text("<!doctype html>")
    push(either_hub, tmp_path, copy)
    assert "report.html" not in remote_sha256(either_hub, REPO)
    assert push(either_hub, tmp_path, copy, "--report")["added"] == ["report.html"]
    (copy / "report.html").write_text("<!doctype html>, newer")
    assert push(either_hub, tmp_path, copy, "--report")["committed"]
    assert not push(either_hub, tmp_path, copy)["committed"]
    assert "report.html" in remote_sha256(either_hub, REPO)


def test_a_damaged_or_unfinished_set_is_not_sent(
    either_hub: LocalHub, out: Path, tmp_path: Path
) -> None:
    hub = either_hub
    broken = tmp_path / "broken"
    shutil.copytree(out, broken)
    shard = next(broken.rglob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    assert "nothing was pushed" in refused(hub, tmp_path, broken, REPO)
    shard.unlink()
    assert "nothing was pushed" in refused(hub, tmp_path, broken, REPO)
    assert ("datasets", REPO) not in hub.repos


@pytest.mark.parametrize("moment", ["before it is verified", "after it was verified", "meanwhile"])
def test_a_set_that_changes_while_it_is_read_is_not_pushed(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    changing = Path(shutil.copytree(out, tmp_path / "out"))
    verified, listed = pushing.verify_set, pushing.set_files
    sent: list[Publication] = []

    def gate() -> None:
        run_gates(changing, [NearDuplicates()], show_progress=False)

    def verify(*arguments: Any, **options: Any) -> Any:
        if moment == "before it is verified":
            gate()
        report = verified(*arguments, **options)
        assert report.whole == (moment != "before it is verified")
        if moment == "after it was verified":
            gate()
        return report

    def files(*arguments: Any) -> Any:
        found = listed(*arguments)
        if moment == "meanwhile":
            gate()
        return found

    def publish(target: object, publication: Publication, **options: Any) -> None:
        sent.append(publication)

    monkeypatch.setattr(pushing, "verify_set", verify)
    monkeypatch.setattr(pushing, "set_files", files)
    for name in ("writing_session", "check_may_push"):
        monkeypatch.setattr(pushing, name, lambda *_, **__: None)
    monkeypatch.setattr(pushing, "publish", publish)
    with pytest.raises(Failure, match="changed while it was read; nothing was pushed"):
        pushing.push(changing, REPO, show_progress=False)
    moment = "never again"
    pushing.push(changing, REPO, show_progress=False)
    (files_sent,) = (one.files for one in sent)
    manifest = files_sent["manifest.json"].content
    assert manifest == (changing / "manifest.json").read_bytes() and b"near_duplicate" in manifest
    shards = {
        one["file"] for entry in json.loads(manifest)["configs"].values() for one in entry["shards"]
    }
    assert {name for name in files_sent if name.startswith("data/")} == shards


def test_a_gitignore_there_is_noticed(either_hub: LocalHub, out: Path, tmp_path: Path) -> None:
    hub = either_hub
    push(hub, tmp_path, out)
    repo = hub.repos["datasets", REPO]
    files = {".gitignore": hub.regular_blob(b"*.parquet\n")}
    repo.add_commit("main", "ignore", "", "somebody", files)
    line = refused(hub, tmp_path, out, REPO, status=1)
    assert ".parquet is missing" in line and ".gitignore" in line


def test_each_refusal_is_one_line_with_its_remedy(out: Path, tmp_path: Path) -> None:
    with LocalHub() as hub:
        read = {"token": hub.read_token}
        line = refused(hub, tmp_path, out, REPO, token=None)
        assert "needs a token" in line and "write permission" in line
        assert "is read-only" in refused(hub, tmp_path, out, REPO, **read)
        assert "401" in refused(hub, tmp_path, out, REPO, token="hf_mistyped")
        line = refused(hub, tmp_path, out, "stranger/digits")
        assert "no write permission" in line and "namespace" in line
        assert "not a valid Hub name" in refused(hub, tmp_path, out, f"{ORG}/bad--name")
        assert "Invalid repository name" in refused(hub, tmp_path, out, f"{ORG}/bad.ipynb")
        assert "directory not found" in refused(hub, tmp_path, tmp_path / "none", REPO)
        assert "has no owner" in refused(hub, tmp_path, out, "alone")
        for option in ("--tag", "--revision"):
            assert "is not a valid branch or tag name" in refused(
                hub, tmp_path, out, REPO, option, "a b"
            )
        assert "unset it to push" in refused(hub, tmp_path, out, REPO, HF_HUB_OFFLINE="1")
        assert "contains an invalid character" in refused(
            hub, tmp_path, out, REPO, token="hf_\u201cquoted"
        )
        assert not hub.repos
        push(hub, tmp_path, out, "--tag", "v1")
        assert "no write permission" in refused(hub, tmp_path, out, REPO, **read)
        assert "is public" in refused(hub, tmp_path, out, REPO, "--private")
        assert "must be a branch" in refused(hub, tmp_path, out, REPO, "--revision", "v1")


def test_a_tag_is_never_moved(either_hub: LocalHub, out: Path, grown: Path, tmp_path: Path) -> None:
    hub = either_hub
    push(hub, tmp_path, out, "--tag", "v1")
    hub.clear_log()
    line = refused(hub, tmp_path, grown, REPO, "--tag", "v1")
    assert "tag v1 already points to commit" in line
    assert not hub.log(content_route(hub)) and not hub.log("commit")


def test_the_token_is_never_shown(either_hub: LocalHub, out: Path, tmp_path: Path) -> None:
    hub = either_hub
    hub.fault("commit", "status", status=400)
    done = run_factory(hub, tmp_path, "push", out, REPO, "--private")
    assert done.returncode == 2
    assert str(hub.token) not in done.stdout + done.stderr
    assert hub.repos["datasets", REPO].private


def test_an_unreachable_hub_ends_the_push(either_hub: LocalHub, out: Path, tmp_path: Path) -> None:
    hub = either_hub
    hub.fault("commit", "status", status=503, times=None)
    line = refused(hub, tmp_path, out, REPO, status=1, DATA_FACTORY_HUB_PATIENCE_S="1")
    assert "503" in line and "run the same command again" in line
    hub.clear_faults()
    hub.fault("info", "status", status=429, retry_after=3600, times=None)
    assert "asks to wait 3600 s" in refused(hub, tmp_path, out, REPO, status=1)


def change_card(hub: LocalHub, change: Callable[[str], str]) -> None:
    """Change the card on the Hub, as people do in a browser."""
    repo = hub.repos["datasets", REPO]
    head = repo.at("main")
    text = change(hub.read_text_file(head, "README.md").decode())
    files = {**head.files, "README.md": hub.regular_blob(text.encode())}
    repo.add_commit("main", "Update README.md", "", "somebody", files)


def test_a_card_that_people_changed_is_kept_or_the_push_refused(
    either_hub: LocalHub, out: Path, grown: Path, tmp_path: Path
) -> None:
    hub = either_hub
    push(hub, tmp_path, out)
    change_card(hub, lambda text: text + "\n## Notes\n\nAsk Ann.\n")
    assert not push(hub, tmp_path, out)["committed"]
    push(hub, tmp_path, grown)
    shown = hub.read_text_file(hub.repos["datasets", REPO].at("main"), "README.md").decode()
    assert shown.endswith("\n## Notes\n\nAsk Ann.\n") and "54 images" in shown

    change_card(hub, lambda text: text.replace("tags:\n", "tags:\n- mine\n"))
    commits = titles(hub)
    done = run_factory(hub, tmp_path, "push", out, REPO, "--quiet")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "changed by hand" in done.stderr and "-- mine" in done.stderr.splitlines()
    assert "--replace-card" in done.stderr and titles(hub) == commits
    push(hub, tmp_path, out, "--replace-card")
    shown = hub.read_text_file(hub.repos["datasets", REPO].at("main"), "README.md").decode()
    assert "- mine" not in shown and "Ask Ann" not in shown


def test_limits_of_the_hub_are_checked_before_upload(out: Path, tmp_path: Path) -> None:
    many = Path(shutil.copytree(out, tmp_path / "many"))
    found = json.loads((many / "manifest.json").read_text())
    entry = found["configs"]["base"]
    entry |= {"images": 40_001, "shards": entry["shards"][:1] * 10_001}
    (many / "manifest.json").write_text(json.dumps(found))
    (many / "README.md").write_text((many / "README.md").read_text() + "x" * 1_000_000)
    with LocalHub() as hub:
        done = run_factory(hub, tmp_path / "home", "push", many, REPO, "--quiet")
        assert done.returncode == 2 and not hub.log() and not hub.repos
    lines = done.stderr.strip().splitlines()
    assert "10,001 shards" in lines[0] and "--shard-size 8 or more" in lines[0]
    assert "README.md: 1,0" in lines[1] and "the Hub allows 1,000,000 per card" in lines[1]
