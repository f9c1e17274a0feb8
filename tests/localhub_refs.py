"""Routes of localhub about trees, branches, tags and histories."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode

from localhub_http import HttpError, Request, Response
from localhub_repos import Commit, Repo, tree
from localhub_routing import API, REV, route

MAX_PATHS_INFO = 1000


class RefRoutes:
    """Routes for the content of a revision."""

    def _page(self, req: Request, items: list, size: int) -> tuple[list, dict[str, str]]:
        start = int(req.query.get("cursor", ["0"])[0])
        if start + size >= len(items):
            return items[start:], {}
        query = urlencode({**req.query, "cursor": [str(start + size)]}, doseq=True)
        return items[start : start + size], {
            "Link": f'<{self.endpoint}{req.path}?{query}>; rel="next"'
        }

    def _expand(self, repo: Repo, commit: Commit, items: list[dict]) -> list[dict]:
        return [
            {**item, "lastCommit": repo.last_change(commit, item["path"]).summary()}
            for item in items
        ]

    @route("tree", "GET", f"{API}/tree/{REV}(?:/(?P<folder>.*))?", "info")
    def list_tree(self, req: Request, repo: Repo, rev: str, folder: str = "") -> Response:
        commit, expand = repo.at(rev), req.flag("expand")
        items = tree(commit.files, folder.strip("/"), req.flag("recursive"))
        page, headers = self._page(
            req, items, min(50, self.page_size) if expand else self.page_size
        )
        return Response.json(self._expand(repo, commit, page) if expand else page, headers=headers)

    @route("paths_info", "POST", f"{API}/paths-info/{REV}", "info")
    def paths_info(self, req: Request, repo: Repo, rev: str) -> Response:
        commit = repo.at(rev)
        form = (
            req.json()
            if "json" in req.headers.get("Content-Type", "")
            else parse_qs(req.body.decode())
        )
        if len(form.get("paths", [])) > MAX_PATHS_INFO:
            raise HttpError(413, "too many parameters")
        items = []
        for path in (path.strip("/") for path in form.get("paths", [])):
            if path in commit.files:
                items.append(commit.files[path].tree_item(path))
            elif any(file.startswith(f"{path}/") for file in commit.files):
                items += [item for item in tree(commit.files, "", True) if item["path"] == path]
        expand = str(form.get("expand", "")).lower().strip("[']") == "true"
        return Response.json(self._expand(repo, commit, items) if expand else items)

    @route("refs", "GET", f"{API}/refs", "info")
    def refs(self, req: Request, repo: Repo) -> Response:
        def listed(names: dict[str, str], folder: str) -> list[dict]:
            return [
                {"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": oid}
                for n, oid in names.items()
            ]

        answer = {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags")}
        return Response.json({**answer, "converts": [], "pullRequests": []})

    @route("commits", "GET", f"{API}/commits/{REV}", "info")
    def commits(self, req: Request, repo: Repo, rev: str) -> Response:
        items = [
            {**commit.summary(), "message": commit.message, "authors": [{"user": commit.author}]}
            for commit in repo.history(repo.at(rev))
        ]
        page, headers = self._page(req, items, 50)
        return Response.json(page, headers={"X-Total-Count": str(len(items)), **headers})

    def _new_ref(self, refs: dict[str, str], name: str, commit: Commit) -> Response:
        if (
            not re.fullmatch(r"[\w][\w./-]*", name)
            or ".." in name
            or name.endswith(("/", ".", ".lock"))
        ):
            raise HttpError(400, f"Invalid reference name {name!r}")
        if name in refs:
            raise HttpError(409, f"Reference already exists: {name}")
        refs[name] = commit.oid
        return Response.json({}, 201)

    @route("branch", "POST", f"{API}/branch/{REV}", "write")
    def create_branch(self, req: Request, repo: Repo, rev: str) -> Response:
        return self._new_ref(repo.branches, rev, repo.at(req.json().get("startingPoint", "main")))

    @route("tag", "POST", f"{API}/tag/{REV}", "write")
    def create_tag(self, req: Request, repo: Repo, rev: str) -> Response:
        return self._new_ref(repo.tags, req.json()["tag"], repo.at(rev))

    @route("delete_ref", "DELETE", f"{API}/(?P<refs>branch|tag)/{REV}", "write")
    def delete_ref(self, req: Request, repo: Repo, refs: str, rev: str) -> Response:
        if (refs, rev) == ("branch", "main"):
            raise HttpError(403, "The main branch cannot be deleted")
        if (repo.branches if refs == "branch" else repo.tags).pop(rev, None) is None:
            raise HttpError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return Response.json({})
