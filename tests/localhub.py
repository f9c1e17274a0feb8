"""localhub: a loopback Hugging Face Hub for tests with the unmodified clients.

``huggingface_hub``, ``hf-xet``, ``datasets`` and ``timm`` talk to it through ``HF_ENDPOINT``. The
state lives in memory; `root` moves file contents to a directory. Two listeners, both on
127.0.0.1, share that state, because clients treat the two origins differently (the Hub token must
not travel to the second one):

* the *hub* (``endpoint``): the REST API, ``/resolve`` and the git-LFS batch API;
* the *storage* (``storage_endpoint``): the place of S3, the CDN and the Xet CAS.

Protocol, as the clients speak it
---------------------------------
Push: ``POST /api/repos/create``; ``POST .../preupload/{rev}`` says "regular" or "lfs" for each
file; the bytes of "lfs" files go to storage by Xet or by LFS; ``POST .../commit/{rev}`` (NDJSON:
header, file, lfsFile, deletedFile, deletedFolder) makes the commit, which names files by sha256.

LFS: ``POST {repo}.git/info/lfs/objects/batch`` answers a URL to PUT to, or one URL per part and a
completion URL, then a verify URL.

Xet: ``GET .../xet-{read,write}-token/{rev}`` hands out a short-lived CAS token. Upload: ``GET
/v1/chunks/default/{chunk}`` (global deduplication, answers a shard); for each xorb (a pack of
chunks) ``POST /v1/xorb-grants/default/{xorb}``, a PUT to the granted URL and ``POST /v1/xorb-
commits/default/{xorb}/grant/{id}``, or directly ``POST /v1/xorbs/default/{xorb}`` (older clients,
and hf-xet 1.8 when a grant does not work); then ``POST /v2/shards`` or ``/v1/shards`` (which
chunks make which file, with its sha256). Download: ``GET /v2/reconstructions/{file}`` or
``/v1/...``, then byte ranges of xorbs. A client without Xet follows the ``/resolve`` redirect to
the whole file. The client alone chooses Xet or LFS for an upload: against a hub with
``xet=False`` it needs HF_HUB_DISABLE_XET=1, which `LocalHub.env` sets.

Download: ``HEAD``/``GET /{repo}/resolve/{rev}/{path}`` answers small files itself and redirects
others to storage with X-Linked-Size, X-Linked-ETag and, for Xet files, X-Xet-Hash.

Sources: the source of huggingface_hub 2.4.0 (hf_api, _commit_api, _upload_pipeline, lfs,
file_download, utils/_http, utils/_xet), and github.com/huggingface/xet-core
(openapi/cas.openapi.yaml, xet_client/README.md, xet_client/src/cas_client,
xet_core_structures/src/{metadata_shard,xorb_object,merklehash}).

Not here: pull requests, git over HTTP, searches, quotas, buckets, metadata that survives a
restart.

Dependencies: PyYAML (huggingface_hub has it), pyarrow (datasets has it; decodes LZ4 chunks) and,
optionally, blake3: with it the hashes of xorbs and chunks are checked on upload as the real CAS
does. Without it a damaged xorb is refused one step later, when the sha256 of a file in the shard
does not match.

Routes to aim faults at: whoami, create, delete, info, tree, paths_info, tag, preupload, commit,
lfs_batch, lfs_put, lfs_complete, lfs_verify, xet_token, dedup, xorb_grant, xorb_put, xorb_commit,
xorb_direct, shard, reconstruction, xorb_get, resolve, content.

    with LocalHub(xet=True) as hub:
        hub.fault("commit", "status", status=503)
        subprocess.run([...], env={**os.environ, **hub.env(tmp_path)}, check=True)
        assert hub.totals()["xorb_put"]["bytes_in"] > 0
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote

from localhub_account import AccountRoutes
from localhub_faults import Fault
from localhub_http import HttpError, Request, Response
from localhub_push import PushRoutes
from localhub_refs import RefRoutes
from localhub_repos import Blob, Commit, Repo, git_oid
from localhub_routing import NOT_FOUND, ROUTES, Route
from localhub_server import Listener, RequestHandler
from localhub_transfer import TransferRoutes
from localhub_xet import BlobStore, XetStore

ROLES = ("write", "read", "none")


class Hub(AccountRoutes, RefRoutes, PushRoutes, TransferRoutes):
    """All state, and the request handlers (called one at a time, under `lock`)."""

    def __init__(
        self,
        *,
        xet: bool,
        tokens: dict[str, str],
        user: str,
        orgs: tuple[str, ...],
        root: Path | None,
    ):
        self.xet_enabled, self.tokens, self.root = xet, tokens, root
        self.user, self.orgs = user, orgs
        self.page_size, self.part_size = 1000, 5 * 1024 * 1024
        self.endpoint = self.storage_endpoint = ""
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Reset everything but the tokens."""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs = BlobStore(self.root)
        self.xet = XetStore(self.blobs)
        self.faults: list[Fault] = []
        self.wake = threading.Event()  # ends every delay at once
        self.requests: list[dict] = []

    def find_route(self, method: str, path: str) -> tuple[Route, dict[str, object]]:
        for candidate in ROUTES:
            match = candidate.pattern.match(path)
            if match and candidate.method == ("GET" if method == "HEAD" else method):
                return candidate, {
                    key: unquote(value)
                    for key, value in match.groupdict().items()
                    if value is not None
                }
        return NOT_FOUND, {}

    def respond(self, found: Route, req: Request, args: dict[str, object]) -> Response:
        with self.lock:
            try:
                if found.access:
                    args["repo"] = self.open_repo(
                        req, args.pop("kind", "models"), args.pop("name"), found.access
                    )
                return found.handler(self, req, **args)
            except HttpError as err:
                code = {"X-Error-Code": err.code} if err.code else {}
                headers = {"X-Error-Message": err.message, **code, **err.headers}
                return Response.json({"error": err.message}, err.status, headers)
            except (LookupError, StopIteration, TypeError, ValueError) as err:
                return Response.json({"error": f"Malformed request: {err!r}"}, 400)

    def role(self, req: Request) -> str | None:
        if req.bearer is None:
            return None
        if req.bearer not in self.tokens:
            raise HttpError(401, "Invalid credentials in Authorization header")
        return self.tokens[req.bearer]

    def open_repo(self, req: Request, kind: str, name: str, access: str) -> Repo:
        role = self.role(req)
        repo = self.repos.get((kind, name))
        member = role in ("read", "write")
        if repo is None or (repo.private and not member):
            raise HttpError(404 if role else 401, "Repository not found", "RepoNotFound")
        if access == "read" and repo.gated and not member:
            message = f"Access to {kind[:-1]} {name} is restricted."
            raise HttpError(403 if role else 401, message, "GatedRepo")
        if access == "write":
            self.require_write(role)
        return repo

    def require_write(self, role: str | None) -> None:
        if role is None:
            raise HttpError(401, "Invalid username or password.")
        if role != "write":
            raise HttpError(403, "Forbidden: this token has no write access")

    def content(self, blob: Blob) -> tuple[str, Callable[[int, int], bytes]]:
        """Return the storage location of a blob, and a function that reads a range of it."""
        if blob.xet:
            file = self.xet.files[blob.xet]
            return f"/xet-files/{blob.xet}", lambda start, end: self.xet.read(file, start, end)
        key = f"lfs/{blob.sha256}" if blob.sha256 else f"git/{blob.oid}"
        return f"/{key}", lambda start, end: self.blobs.get(key)[start:end]

    def read_text_file(self, commit: Commit, path: str) -> bytes:
        blob = commit.files.get(path)
        return self.content(blob)[1](0, blob.size) if blob else b""

    def regular_blob(self, data: bytes) -> Blob:
        blob = Blob(git_oid(data), len(data))
        self.blobs.put(f"git/{blob.oid}", data)
        return blob

    def fault(self, match: str, kind: str, **options: object) -> Fault:
        self.faults.append(Fault(match, kind, **options))
        return self.faults[-1]

    def clear_faults(self) -> None:
        self.faults = []

    def log(self, route: str | None = None) -> list[dict]:
        return [dict(entry) for entry in self.requests if route in (None, entry["route"])]

    def clear_log(self) -> None:
        self.requests = []

    def totals(self) -> dict[str, dict[str, int]]:
        """Requests and body bytes per route, and over all routes."""
        totals: dict[str, dict[str, int]] = {}
        for entry in self.requests:
            for name in (entry["route"], "all"):
                counts = totals.setdefault(name, {"requests": 0, "bytes_in": 0, "bytes_out": 0})
                for key, value in (
                    ("requests", 1),
                    ("bytes_in", entry["bytes_in"]),
                    ("bytes_out", entry["bytes_out"]),
                ):
                    counts[key] += value
        return totals


class LocalHub(Hub):
    """A hub with its two listeners. `tokens` maps a token to its role ("write", "read", "none").

    By default there is one token per role. `token`, `read_token` and `other_token` are the first of
    each role; "none" is a valid account without any access.
    """

    def __init__(
        self,
        *,
        xet: bool = True,
        tokens: dict[str, str] | None = None,
        user: str = "localuser",
        orgs: Iterable[str] = ("localorg",),
        root: str | Path | None = None,
        port: int = 0,
    ):
        if tokens is None:
            tokens = {f"hf_{secrets.token_hex(17)}": role for role in ROLES}
        if unknown := set(tokens.values()) - set(ROLES):
            raise ValueError(f"Unknown token roles: {sorted(unknown)}")
        super().__init__(
            xet=xet, tokens=tokens, user=user, orgs=tuple(orgs), root=Path(root) if root else None
        )
        first = {role: token for token, role in reversed(tokens.items())}
        self.token, self.read_token, self.other_token = (first.get(role) for role in ROLES)
        self._listeners = [self._listen("hub", port), self._listen("storage", 0)]
        self.endpoint, self.storage_endpoint = (
            f"http://127.0.0.1:{s.server_port}" for s in self._listeners
        )

    def _listen(self, name: str, port: int) -> Listener:
        handler = type(f"{name.title()}Handler", (RequestHandler,), {"hub": self, "listener": name})
        return Listener(("127.0.0.1", port), handler)

    def __enter__(self) -> LocalHub:
        for listener in self._listeners:
            threading.Thread(
                target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()

    def env(self, hf_home: str | Path, token: str | None = "") -> dict[str, str]:
        """Environment of a client process: the clients read it once, at import. None: no token."""
        env = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(hf_home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        env["HF_HUB_DISABLE_XET"] = "0" if self.xet_enabled else "1"
        if token is not None:
            env["HF_TOKEN"] = token or self.token or ""
        return env
