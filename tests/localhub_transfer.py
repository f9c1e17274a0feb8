"""Routes of localhub for downloads, and for Xet in both directions."""

from __future__ import annotations

import re
from urllib.parse import quote

from localhub_http import HttpError, Request, Response, ranged
from localhub_repos import Repo
from localhub_routing import API, REV, WEB, XORB, route


class TransferRoutes:
    """Routes for file contents."""

    @route("resolve", "GET", f"{WEB}/(?:resolve|raw)/{REV}/(?P<path>.+)", "read")
    def resolve(self, req: Request, repo: Repo, rev: str, path: str) -> Response:
        commit = repo.at(rev)
        blob = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.oid}
        if blob is None:
            raise HttpError(404, "Entry not found", "EntryNotFound", headers)
        location, read = self.content(blob)
        if blob.sha256 is None:
            filename = quote(path.rsplit("/", 1)[-1])
            headers |= {
                "ETag": f'"{blob.oid}"',
                "Content-Disposition": f"inline; filename*=UTF-8''{filename}",
            }
            return ranged(req, blob.size, read, headers)
        headers |= {
            "X-Linked-Size": str(blob.size),
            "X-Linked-ETag": f'"{blob.sha256}"',
            "ETag": f'"{blob.sha256}"',
        }
        if blob.xet:
            auth = f"{self.endpoint}/api/{repo.kind}/{repo.name}/xet-read-token/{commit.oid}"
            info = f"{self.storage_endpoint}/v1/reconstructions/{blob.xet}"
            headers["X-Xet-Hash"] = blob.xet
            headers["Link"] = f'<{auth}>; rel="xet-auth", <{info}>; rel="xet-reconstruction-info"'
        return Response(302, {**headers, "Location": f"{self.storage_endpoint}{location}"})

    @route("content", "GET", "/(?P<key>lfs/[0-9a-f]{64})")
    @route("xorb_get", "GET", "/(?P<key>xorbs/[0-9a-f]{64})")
    def stored_content(self, req: Request, key: str) -> Response:
        data = self.blobs.get(key)
        return ranged(req, len(data), lambda start, end: data[start:end], {})

    @route("content", "GET", "/xet-files/(?P<file>[0-9a-f]{64})")
    def xet_content(self, req: Request, file: str) -> Response:
        found = self.xet.files[file]
        return ranged(req, found.size, lambda start, end: self.xet.read(found, start, end), {})

    # -- Xet

    @route("xet_token", "GET", f"{API}/xet-(?P<scope>read|write)-token/{REV}")
    def xet_token(self, req: Request, kind: str, name: str, scope: str, rev: str) -> Response:
        self.open_repo(req, kind, name, scope).at(rev)
        if not self.xet_enabled:
            raise HttpError(404, "Xet is not enabled on this hub")
        token, expiry = self.xet.issue_token(scope)
        url = self.storage_endpoint
        headers = {
            "X-Xet-Cas-Url": url,
            "X-Xet-Access-Token": token,
            "X-Xet-Token-Expiration": str(expiry),
        }
        return Response.json({"casUrl": url, "accessToken": token, "exp": expiry}, headers=headers)

    @route("dedup", "GET", "/v1/chunks/(?:default|default-merkledb)/(?P<chunk>[0-9a-f]{64})")
    def query_chunk(self, req: Request, chunk: str) -> Response:
        self.xet.check_token(req.bearer, "read")
        return Response(
            200, {"Content-Type": "application/octet-stream"}, self.xet.dedup_shard(chunk)
        )

    @route("xorb_grant", "POST", f"/v1/xorb-grants/default/{XORB}")
    def grant_xorb(self, req: Request, xorb: str) -> Response:
        self.xet.check_token(req.bearer, "write")
        if xorb in self.xet.xorbs:
            return Response.json({})
        grant = self.xet.grant(xorb)
        url = f"{self.storage_endpoint}/xorb-uploads/{grant}"
        return Response.json({"id": grant, "method": "PUT", "url": url, "headers": {}}, 201)

    @route("xorb_put", "PUT", "/xorb-uploads/(?P<grant>[0-9a-f]+)")
    def put_granted_xorb(self, req: Request, grant: str) -> Response:
        self.xet.put_granted(grant, req.body)
        return Response()

    @route("xorb_commit", "POST", f"/v1/xorb-commits/default/{XORB}/grant/(?P<grant>[0-9a-f]+)")
    def commit_xorb(self, req: Request, xorb: str, grant: str) -> Response:
        self.xet.check_token(req.bearer, "write")
        return Response.json({"was_inserted": self.xet.commit_grant(grant)})

    @route("xorb_direct", "POST", f"/v1/xorbs/default/{XORB}")
    def put_xorb(self, req: Request, xorb: str) -> Response:
        self.xet.check_token(req.bearer, "write")
        return Response.json({"was_inserted": self.xet.put_xorb(xorb, req.body)})

    @route("shard", "POST", "/(?P<version>v1|v2)/shards")
    def put_shard(self, req: Request, version: str) -> Response:
        self.xet.check_token(req.bearer, "write")
        self.xet.put_shard(req.body)
        return Response.json({"result": 1} if version == "v1" else {"type": "result"})

    @route("reconstruction", "GET", "/(?P<version>v1|v2)/reconstructions/(?P<file>[0-9a-f]{64})")
    def reconstruction(self, req: Request, version: str, file: str) -> Response:
        self.xet.check_token(req.bearer, "read")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", req.headers.get("Range", "bytes=0-"))
        start, last = int(asked[1]), asked[2]
        answer, fetch = self.xet.reconstruction(file, start, int(last) + 1 if last else None)
        wanted: dict[str, list[dict]] = {}
        for xorb, ranges in fetch.items():
            for first, end in ranges:
                url, span = (
                    f"{self.storage_endpoint}/xorbs/{xorb}",
                    self.xet.byte_range(xorb, first, end),
                )
                chunks = {"start": first, "end": end}
                entry = {"url": url, "range": chunks, "url_range": span}
                if version == "v2":
                    entry = {"url": url, "ranges": [{"chunks": chunks, "bytes": span}]}
                wanted.setdefault(xorb, []).append(entry)
        return Response.json({**answer, ("fetch_info" if version == "v1" else "xorbs"): wanted})

    @route("telemetry", "POST GET", "/(v1|api)/telemetry.*")
    def telemetry(self, req: Request) -> Response:
        return Response.json({})
