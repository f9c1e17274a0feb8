"""Routes of localhub about accounts and repositories."""

from __future__ import annotations

import json
import re
import secrets

import yaml
from localhub_http import HttpError, Request, Response
from localhub_repos import Repo, card_data
from localhub_routing import API, KIND, REV, route

LFS_SUFFIXES = (
    "7z arrow avro bin bz2 ckpt ftz gz h5 joblib lz4 mds mlmodel model msgpack npy npz onnx "
    "ot parquet pb pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst "
)
DATASET_LFS_SUFFIXES = (
    "aac bmp flac gif jpeg jpg m4a mp3 mp4 ogg pcm png raw sam tif tiff wav webm webp "
)


class AccountRoutes:
    """The account of a request, the repositories, and their properties."""

    @route("whoami", "GET", "/api/whoami-v2")
    def whoami(self, req: Request) -> Response:
        role = self.role(req)
        if role is None:
            raise HttpError(401, "Invalid username or password.")
        orgs = [
            {"type": "org", "name": org, "fullname": org, "roleInOrg": "write"} for org in self.orgs
        ]
        auth = {"type": "access_token", "accessToken": {"displayName": "localhub", "role": role}}
        user = {
            "type": "user",
            "name": self.user,
            "fullname": self.user,
            "email": "",
            "isPro": False,
        }
        return Response.json(
            {**user, "id": "0" * 24, "orgs": orgs if role != "none" else [], "auth": auth}
        )

    def _named(self, req: Request) -> tuple[str, str, dict]:
        payload = req.json()
        kind = f"{payload.get('type') or 'model'}s"
        return kind, f"{payload.get('organization') or self.user}/{payload.get('name')}", payload

    @route("create", "POST", "/api/repos/create")
    def create_repo(self, req: Request) -> Response:
        self.require_write(self.role(req))
        kind, name, payload = self._named(req)
        owner, base = name.split("/", 1)
        if kind not in ("models", "datasets", "spaces"):
            raise HttpError(400, f"Unsupported repository type {kind[:-1]!r}")
        good = re.fullmatch(r"\w[\w.-]{0,95}", base, re.ASCII) and not re.search(
            r"--|\.\.|[.-]$|\.(git|ipynb)$", base
        )
        if not good:
            raise HttpError(400, f"Invalid repository name {base!r}")
        if owner not in (self.user, *self.orgs):
            raise HttpError(
                403,
                f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{owner}"',
            )
        private = payload.get("visibility") == "private" or bool(payload.get("private"))
        repo = Repo(kind, name, private)
        answer = {
            "url": f"{self.endpoint}{repo.url_path}",
            "name": name,
            "id": secrets.token_hex(12),
        }
        if (kind, name) in self.repos:
            return Response.json(
                {"error": f"You already created this {kind[:-1]} repo", **answer}, 409
            )
        suffixes = (LFS_SUFFIXES + (DATASET_LFS_SUFFIXES if kind == "datasets" else "")).split()
        attributes = "".join(
            f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in suffixes
        )
        files = {".gitattributes": self.regular_blob(attributes.encode())}
        repo.add_commit("main", "initial commit", "", self.user, files)
        self.repos[kind, name] = repo
        return Response.json(answer)

    @route("delete", "DELETE", "/api/repos/delete")
    def delete_repo(self, req: Request) -> Response:
        kind, name, _ = self._named(req)
        self.open_repo(req, kind, name, "write")
        del self.repos[kind, name]
        return Response.json({"success": True})

    @route("settings", "PUT", f"{API}/settings", "write")
    def settings(self, req: Request, repo: Repo) -> Response:
        payload = req.json()
        repo.gated = payload.get("gated", repo.gated)
        repo.private = (
            payload["visibility"] == "private" if "visibility" in payload else repo.private
        )
        return Response.json({"private": repo.private, "gated": repo.gated})

    @route("auth_check", "GET", f"{API}/auth-check", "read")
    @route("auth_check", "GET", f"{API}/auth-check/write", "write")
    def auth_check(self, req: Request, repo: Repo) -> Response:
        return Response.json({})

    @route("info", "GET", f"{API}(?:/revision/{REV})?", "info")
    def info(self, req: Request, repo: Repo, rev: str = "main") -> Response:
        commit = repo.at(rev)
        try:
            card = card_data(self.read_text_file(commit, "README.md"))
        except yaml.YAMLError:
            card = None
        tags = []
        for key, value in (card or {}).items():
            values = [
                v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)
            ]
            if key in ("tags", "library_name", "pipeline_tag"):
                tags += values
            elif key in (
                "language",
                "license",
                "task_categories",
                "size_categories",
                "annotations_creators",
            ):
                tags += [f"{key}:{v}" for v in values]
        data = {
            "id": repo.name,
            "author": repo.name.split("/")[0],
            "sha": commit.oid,
            "lastModified": commit.date,
            "createdAt": repo.created,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [*tags, "region:us"],
            "cardData": card,
            "siblings": [
                blob.sibling(path, req.flag("blobs")) for path, blob in sorted(commit.files.items())
            ],
            "usedStorage": sum(blob.size for blob in commit.files.values()),
        }
        if repo.kind == "models":
            data |= {"modelId": repo.name} | {
                k: (card or {}).get(k) for k in ("library_name", "pipeline_tag")
            }
        if expand := req.query.get("expand", []) + req.query.get("expand[]", []):
            data = {key: value for key, value in data.items() if key == "id" or key in expand}
        return Response.json(json.loads(json.dumps({"_id": "0" * 24, **data}, default=str)))

    @route("info", "GET", f"/api/{KIND}/[^/]+")
    def canonical_info(self, req: Request, kind: str) -> Response:
        """Repositories without a namespace: there are none here."""
        raise HttpError(404 if self.role(req) else 401, "Repository not found", "RepoNotFound")

    @route("validate_yaml", "POST", "/api/validate-yaml")
    def validate_yaml(self, req: Request) -> Response:
        try:
            card = card_data(req.json().get("content", "").encode())
        except yaml.YAMLError as err:
            return Response.json(
                {"errors": [{"message": str(err)}], "warnings": [], "error": "Invalid YAML"}, 400
            )
        warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
        return Response.json({"errors": [], "warnings": warnings})
