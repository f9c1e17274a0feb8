"""Routes of localhub for a push: preupload, LFS, commit."""

from __future__ import annotations

import base64
import hashlib
import json

from localhub_http import HttpError, Request, Response
from localhub_repos import Blob, Repo, matches
from localhub_routing import API, KIND, LFS, REPO, REV, route

MAX_REGULAR_SIZE = 10 * 1024 * 1024  # larger files must go through LFS or Xet


class PushRoutes:
    """Routes from a list of paths to a commit."""

    @route("preupload", "POST", f"{API}/preupload/{REV}", "write")
    def preupload(self, req: Request, repo: Repo, rev: str) -> Response:
        commit, payload = repo.at(rev), req.json()
        attributes = (
            payload.get("gitAttributes") or self.read_text_file(commit, ".gitattributes").decode()
        )
        lfs = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        ignore = payload.get("gitIgnore") or self.read_text_file(commit, ".gitignore").decode()
        ignored = [
            line for line in ignore.splitlines() if line.strip() and not line.startswith("#")
        ]
        files = []
        for file in payload["files"]:
            path, binary = file["path"], b"\0" in base64.b64decode(file.get("sample", ""))
            mode = (
                "lfs"
                if binary or file["size"] > MAX_REGULAR_SIZE or matches(path, lfs)
                else "regular"
            )
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": matches(path, ignored)}
            if blob := commit.files.get(path):
                answer["oid"] = blob.sha256 or blob.oid
            files.append(answer)
        return Response.json({"files": files, "commitOid": commit.oid})

    @route("commit", "POST", f"{API}/commit/{REV}", "write")
    def commit(self, req: Request, repo: Repo, rev: str) -> Response:
        if req.flag("create_pr"):
            raise HttpError(400, "localhub has no pull requests")
        if rev not in repo.branches:
            raise HttpError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        head = repo.commits[repo.branches[rev]]
        files, header = dict(head.files), {}
        for line in req.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
                if not head.oid.startswith(value.get("parentCommit") or ""):
                    raise HttpError(
                        412, "A commit has happened since. Please refresh and try again."
                    )
            else:
                self._apply(repo, files, item["key"], value)
        if not header.get("summary"):
            raise HttpError(400, "The commit has no summary")
        made = repo.add_commit(
            rev, header["summary"], header.get("description") or "", self.user, files
        )
        url = f"{self.endpoint}{repo.url_path}/commit/{made.oid}"
        return Response.json(
            {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}
        )

    def _apply(self, repo: Repo, files: dict[str, Blob], key: str, value: dict) -> None:
        path = value["path"]
        if key == "file":
            encoded = value.get("encoding") == "base64"
            data = base64.b64decode(value["content"]) if encoded else value["content"].encode()
            if len(data) > MAX_REGULAR_SIZE:
                raise HttpError(400, f"Your push was rejected because {path} is larger than 10 MiB")
            files[path] = self.regular_blob(data)
        elif key == "lfsFile":
            files[path] = self._lfs_blob(repo, path, value["oid"], value.get("size"))
        elif key in ("deletedFile", "deletedFolder"):
            folder = path.rstrip("/") + "/"
            gone = [
                f for f in files if f == path or (key == "deletedFolder" and f.startswith(folder))
            ]
            if not gone:
                raise HttpError(
                    404, f"A file with this name doesn't exist: {path}", "EntryNotFound"
                )
            for file in gone:
                del files[file]
        else:
            raise HttpError(400, f"Unknown operation {key!r}")

    def _lfs_blob(self, repo: Repo, path: str, sha256: str, size: int | None) -> Blob:
        xet = self.xet.by_sha256.get(sha256)
        stored = self.xet.files[xet].size if xet else repo.lfs.get(sha256)
        if stored is None or size not in (None, stored):
            raise HttpError(
                400, f"Your push was rejected: the LFS pointer of {path} has no uploaded file"
            )
        return Blob.lfs(sha256, stored, xet)

    # -- LFS

    @route("lfs_batch", "POST", f"{LFS}/batch", "write")
    def lfs_batch(self, req: Request, repo: Repo) -> Response:
        payload = req.json()
        objects = [
            self._lfs_actions(repo, item, payload.get("transfers", ["basic"]))
            for item in payload["objects"]
        ]
        multipart = any(
            "chunk_size" in o.get("actions", {}).get("upload", {}).get("header", {})
            for o in objects
        )
        return Response.json(
            {"transfer": "multipart" if multipart else "basic", "objects": objects}
        )

    def _lfs_actions(self, repo: Repo, item: dict, transfers: list[str]) -> dict:
        oid, size = item["oid"], item["size"]
        if oid in repo.lfs:
            return item
        git = f"{self.endpoint}{repo.url_path}.git/info/lfs/objects"
        target = f"{self.storage_endpoint}/upload/{repo.kind}/{repo.name}/{oid}"
        upload: dict = {"href": f"{target}/1"}
        if "multipart" in transfers and size > self.part_size:
            parts = -(-size // self.part_size)
            urls = {f"{number:05d}": f"{target}/{number}" for number in range(1, parts + 1)}
            upload = {
                "href": f"{git}/{oid}/complete",
                "header": {"chunk_size": str(self.part_size), **urls},
            }
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": upload, "verify": {"href": f"{git}/verify"}},
        }

    @route("lfs_put", "PUT", f"/upload/{KIND}/{REPO}/(?P<oid>[0-9a-f]{{64}})/(?P<part>\\d+)")
    def lfs_put(self, req: Request, kind: str, name: str, oid: str, part: str) -> Response:
        repo = self.repos.get((kind, name))
        if repo is None:
            raise HttpError(404, "No such upload")
        repo.pending.setdefault(oid, {})[int(part)] = req.body
        return Response(200, {"ETag": f'"{hashlib.md5(req.body).hexdigest()}"'})

    @route("lfs_complete", "POST", f"{LFS}/(?P<oid>[0-9a-f]{{64}})/complete")
    def lfs_complete(self, req: Request, name: str, oid: str, kind: str = "models") -> Response:
        """Join the parts. The client sends no token here: the real URL is signed."""
        parts = self.repos[kind, name].pending.get(oid, {})
        sent = req.json()["parts"]
        if [part["partNumber"] for part in sent] != sorted(parts):
            raise HttpError(400, "Parts are missing")
        for part in sent:
            if part["etag"].strip('"') != hashlib.md5(parts[part["partNumber"]]).hexdigest():
                raise HttpError(400, f"Wrong ETag of part {part['partNumber']}")
        return Response.json({"success": True})

    @route("lfs_verify", "POST", f"{LFS}/verify", "write")
    def lfs_verify(self, req: Request, repo: Repo) -> Response:
        oid, size = req.json()["oid"], req.json()["size"]
        if repo.lfs.get(oid) == size:  # verified before, and the answer was lost
            return Response.json({"success": True})
        parts = repo.pending.pop(oid, {})
        data = b"".join(parts[number] for number in sorted(parts))
        if len(data) != size or hashlib.sha256(data).hexdigest() != oid:
            raise HttpError(400, "The uploaded object does not have the announced size and sha256")
        self.blobs.put(f"lfs/{oid}", data)
        repo.lfs[oid] = size
        return Response.json({"success": True})
