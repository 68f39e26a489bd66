"""The page and its addresses: who may ask, what is answered. Nothing but this machine is asked or answers."""

import asyncio
import contextlib
import math
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from burst_denoise import __version__
from burst_denoise.errors import BurstDenoiseError, ConfigError, InputFileError, OutputError
from burst_denoise.files import temporary_folder
from burst_denoise.schemas import Quality
from burst_denoise.session.denoisers import Denoisers
from burst_denoise.session.names import SUFFIXES, OutputFormat
from burst_denoise.session.reader import ReadLimits
from burst_denoise.web.pictures import RESIDUAL_SPAN, Layer, Part, part, upright_size, whole
from burst_denoise.web.queue import Job, JobQueue, QueueFullError
from burst_denoise.web.samples import SAMPLES, scores
from burst_denoise.web.tasks import BurstTask, ReportTask, Result, SamplesTask, ShotTask, WriteTask
from burst_denoise.web.visits import (
    LIFETIME_S,
    MOST_BYTES,
    Export,
    GivenFile,
    TooManyError,
    Visit,
    Visits,
    attachment,
    formats_of,
    refuse_large,
    result_name,
    shown_name,
)
from burst_denoise.web.worker import Worker

__all__ = ["Served", "served"]

HOST = "127.0.0.1"
HERE = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
"""As which this machine is asked for: a stranger's page, to whatever place its name was made to point, has another."""
EXPIRY_S = 30.0
"""Time between two looks for expired visits, seconds."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {"page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Served:
    """A page that waits for visitors."""

    address: str
    run: Callable[[], None]
    """Answers until Ctrl-C or SIGTERM."""


@contextlib.contextmanager
def served(denoisers: Denoisers, limits: ReadLimits, port: int, lifetime_s: float = LIFETIME_S) -> Iterator[Served]:
    """Give a page that is ready to answer on 127.0.0.1; afterwards nothing of it is left.

    Parameters
    ----------
    denoisers : Denoisers
        Their models and profiles serve; strength, quality and repair of hot photosites are the visitors'.
    limits : ReadLimits
        Of the files that visitors give.
    port : int
        0 takes one that is free.
    lifetime_s : float
        Seconds after its last sign of life when a visit is over and its files are deleted.

    Raises
    ------
    ConfigError
        If the port cannot be had.
    """
    with socket.socket() as listening, temporary_folder() as name:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port}: cannot be had ({error.strerror}); choose another with --port") from error
        listening.listen()
        worker = Worker(denoisers, limits, Path(name) / "worker")
        worker.start()
        queue = JobQueue(worker)
        try:
            application = _Page(Path(name), queue, lifetime_s).application()
            settings = uvicorn.Config(
                application, http="h11", ws="none", log_level="error", access_log=False, server_header=False,
                proxy_headers=False, timeout_graceful_shutdown=2,
            )  # fmt: skip
            server = uvicorn.Server(settings)
            yield Served(f"http://{HOST}:{listening.getsockname()[1]}/", lambda: server.run(sockets=[listening]))
        finally:
            queue.close()


class _FromHere:
    """Refuses who comes by another name than this machine's own, or from the page of another site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in given if name == "host"]
        origins = [value for name, value in given if name == "origin"]
        here = len(hosts) == 1 and HERE.fullmatch(hosts[0]) is not None
        if not here or any(origin != f"http://{hosts[0]}" for origin in origins):
            await _refusal("this page answers itself alone; open it by the address that the program has told", 403)(
                scope, receive, send
            )
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers)


class _Page:
    """What is answered at each address."""

    def __init__(self, folder: Path, queue: JobQueue, lifetime_s: float) -> None:
        self._queue = queue
        self._samples = folder / "samples"
        self._samples.mkdir()
        self._visits = Visits(folder, lifetime_s)
        self._shooting = queue.submit(SamplesTask(self._samples))

    def application(self) -> ASGIApp:
        """Return the application."""
        visit = "/visits/{key}"
        routes = [
            Route("/", self._page),
            Route("/{name}", self._static),
            Route("/samples/{name}.jpg", self._thumbnail),
            Route("/visits", self._begin, methods=["POST"]),
            Route(visit, self._visited(self._state)),
            Route(f"{visit}/sample/{{name}}", self._visited(self._take_sample), methods=["POST"]),
            Route(f"{visit}/files", self._visited(self._take_file), methods=["PUT"]),
            Route(f"{visit}/work", self._visited(self._work), methods=["POST"]),
            Route(f"{visit}/cancel", self._visited(self._cancel), methods=["POST"]),
            Route(f"{visit}/end", self._visited(self._end), methods=["POST"]),
            Route(f"{visit}/whole/{{layer}}", self._visited(self._whole)),
            Route(f"{visit}/part/{{layer}}", self._visited(self._part)),
            Route(f"{visit}/frames/{{number:int}}", self._visited(self._frame)),
            Route(f"{visit}/scores", self._visited(self._scores)),
            Route(f"{visit}/exports/{{format}}", self._visited(self._export), methods=["POST"]),
            Route(f"{visit}/download", self._visited(self._download)),
        ]
        return _FromHere(Starlette(routes=routes, lifespan=self._lifespan))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(EXPIRY_S)
                for visit in self._visits.expired():
                    await self._finish(visit)

        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(expire())]
        # It takes a second, which the first visitor's scores would wait for.
        tasks.append(asyncio.create_task(run_in_threadpool(import_module, "skimage.metrics")))
        yield
        for task in tasks:
            task.cancel()

    def _visited(self, answer: Callable[[Request, Visit], Awaitable[Response]]) -> Handler:
        """Return what answers with the visit that an address names; what is wrong is answered in one line."""

        async def handler(request: Request) -> Response:
            visit = self._visits.find(request.path_params["key"])
            if visit is None:
                return _refusal("this shot is gone: files are deleted when the page is left, or an hour later; "
                                "choose it again", 410)  # fmt: skip
            try:
                return await answer(request, visit)
            except (QueueFullError, TooManyError) as error:
                return _refusal(visit.in_words(str(error)), 503)
            except (BurstDenoiseError, FileNotFoundError) as error:  # a visit may end while it is answered
                return _refusal(visit.in_words(str(error)), 400)
            except ClientDisconnect:
                return Response(status_code=499)

        return handler

    async def _page(self, _: Request) -> Response:
        page = Environment(
            loader=PackageLoader("burst_denoise.web", ""), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        text = page.get_template("page.html").render(
            samples=SAMPLES, version=__version__, megabytes=MOST_BYTES // 1_000_000, span=RESIDUAL_SPAN
        )
        return Response(text, media_type="text/html")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return _refusal("there is nothing at this address", 404)
        return Response(files("burst_denoise.web").joinpath(name).read_bytes(), media_type=STATIC[name])

    async def _thumbnail(self, request: Request) -> Response:
        await run_in_threadpool(self._shooting.ended.wait)
        found = [sample for sample in SAMPLES if sample.key == request.path_params["name"]]
        if not found or not found[0].thumbnail(self._samples).is_file():
            return _refusal("there is no such sample", 404)
        return FileResponse(found[0].thumbnail(self._samples))

    async def _begin(self, _: Request) -> Response:
        try:
            return JSONResponse({"key": self._visits.begin().key})
        except TooManyError as error:
            return _refusal(str(error), 503)

    async def _take_sample(self, request: Request, visit: Visit) -> Response:
        found = [sample for sample in SAMPLES if sample.key == request.path_params["name"]]
        if not found or visit.files:
            raise InputFileError("there is no such sample; choose one of those on the page")
        await run_in_threadpool(self._shooting.ended.wait)
        if self._shooting.error is not None:
            raise self._shooting.error
        visit.sample = found[0]
        visit.files = [GivenFile(path, path.name) for path in found[0].files(self._samples)]
        return JSONResponse({})

    async def _take_file(self, request: Request, visit: Visit) -> Response:
        name = request.query_params.get("name", "")
        size = request.headers.get("content-length", "")
        if size.isdecimal():
            refuse_large(shown_name(name), int(size))
        chunks = request.stream()
        try:
            if visit.sample is not None:
                raise InputFileError("a sample was chosen; begin anew to give a file")
            file = await self._visits.receive(visit, name, chunks)
        except BurstDenoiseError:
            if size.isdecimal():
                async for _ in chunks:  # a browser that cannot hand over all of it does not hear why
                    pass
            raise
        return JSONResponse({"name": file.name})

    async def _work(self, request: Request, visit: Visit) -> Response:
        asked = request.query_params.get("quality")
        quality: Quality = next((each for each in get_args(Quality) if each == asked), "fast")
        repair = request.query_params.get("hot") != "kept"
        if not visit.files:
            raise InputFileError("nothing was given; choose a sample or a file")
        await self._stop(visit)
        visit.made += 1
        visit.result = None
        layers = visit.folder / f"layers-{visit.made}"
        layers.mkdir()
        paths = tuple(file.path for file in visit.files)
        task: ShotTask | BurstTask
        if len(paths) == 1:
            clean = None if visit.sample is None else visit.sample.clean(self._samples)
            task = ShotTask(paths[0], layers, quality, repair, clean)
        else:
            task = BurstTask(paths, layers, quality, repair)

        def told(result: object) -> None:
            if isinstance(result, Result):
                visit.result = result

        visit.job = self._queue.submit(task, told)
        return JSONResponse({})

    async def _cancel(self, _: Request, visit: Visit) -> Response:
        await self._stop(visit)
        return JSONResponse({})

    async def _end(self, _: Request, visit: Visit) -> Response:
        await self._finish(visit)
        return JSONResponse({})

    async def _state(self, _: Request, visit: Visit) -> Response:
        job, export = visit.job, visit.export
        if job is not None and job.state == "done":
            visit.result = job.result
        return JSONResponse(
            {
                "files": [file.name for file in visit.files],
                "made": visit.made,
                "job": self._job(visit, job),
                "export": self._job(visit, export.job if export else None),
                "result": None if visit.result is None else self._result(visit, visit.result),
            }
        )

    async def _whole(self, request: Request, visit: Visit) -> Response:
        layer, strength, residual = self._asked(request, visit)
        picture = await run_in_threadpool(whole, layer, strength, residual=residual)
        return Response(picture, media_type="image/jpeg")

    async def _part(self, request: Request, visit: Visit) -> Response:
        layer, strength, residual = self._asked(request, visit)
        place = Part(*(int(_number(request, name)) for name in ("left", "top", "width", "height")))
        picture = await run_in_threadpool(part, layer, place, strength, residual=residual)
        return Response(picture, media_type="image/png")

    async def _frame(self, request: Request, visit: Visit) -> Response:
        path = visit.folder / f"layers-{visit.made}" / f"frame-{request.path_params['number']}.jpg"
        return FileResponse(path) if path.is_file() else _refusal("there is no such frame", 404)

    async def _scores(self, request: Request, visit: Visit) -> Response:
        strength = _share(request)
        clean = None if visit.sample is None else visit.sample.clean(self._samples)
        if clean is None or visit.result is None or visit.result.changed is None:
            raise InputFileError("the truth behind this shot is not known; only that of the sample shots is")
        found = [
            await run_in_threadpool(scores, layer, strength, clean)
            for layer in (visit.result.layers[0], visit.result.changed.layer)
        ]
        return JSONResponse([{"psnr_db": round(one.psnr_db, 2), "ssim": round(one.ssim, 4)} for one in found])

    async def _export(self, request: Request, visit: Visit) -> Response:
        kind, strength = request.path_params["format"], _share(request)
        result = visit.result
        if result is None or result.changed is None or (visit.job and visit.job.state != "done"):
            raise OutputError("there is no result yet that could be written; wait until the shot is denoised")
        await self._drop_export(visit)
        name = visit.files[0].name
        visit.exported += 1
        number = visit.exported
        task: WriteTask | ReportTask
        if kind == "report" and len(visit.files) > 1:
            path = visit.folder / f"report-{number}.html"
            task = ReportTask(tuple(file.path for file in visit.files), path)
            name = f"{Path(name).stem}-report.html"
        elif kind in formats_of(visit.files[0].path):
            format: OutputFormat = next(one for one in get_args(OutputFormat) if one == kind)
            path = visit.folder / f"result-{number}{SUFFIXES[format]}"
            task = WriteTask(result.changed, strength, path)
            name = result_name(name, format)
        else:
            raise OutputError(f"{name}: cannot be written as {kind}; choose one of those on the page")
        visit.export = Export(self._queue.submit(task), path, name)
        return JSONResponse({})

    async def _download(self, _: Request, visit: Visit) -> Response:
        export = visit.export
        if export is None or export.job.state != "done":
            raise OutputError("there is no file to take; ask for one on the page")
        return FileResponse(
            export.path,
            media_type="application/octet-stream",
            headers={"Content-Disposition": attachment(export.name)},
        )

    async def _stop(self, visit: Visit) -> None:
        """Stop what is being made of the files of a visit."""
        await self._drop_export(visit)
        if visit.job is not None:
            await run_in_threadpool(self._queue.cancel, visit.job)

    async def _drop_export(self, visit: Visit) -> None:
        export, visit.export = visit.export, None
        if export is not None:
            await run_in_threadpool(self._queue.cancel, export.job)
            export.path.unlink(missing_ok=True)

    async def _finish(self, visit: Visit) -> None:
        await self._stop(visit)
        await run_in_threadpool(self._visits.end, visit)

    def _job(self, visit: Visit, job: Job | None) -> dict[str, Any] | None:
        """Return where a job stands, for the page."""
        if job is None:
            return None
        left = job.seconds_left
        return {
            "state": job.state,
            "ahead": self._queue.ahead_of(job),
            "stage": job.progress.stage,
            "share": job.progress.share,
            "seconds_left": None if left is None else round(left),
            "error": None if job.error is None else visit.in_words(str(job.error)),
            "seconds": None if job.seconds is None else round(job.seconds, 1),
        }

    def _result(self, visit: Visit, result: Result) -> dict[str, Any]:
        """Return what has become of the files, for the page."""
        facts, layers = result.facts, result.layers
        names = {file.path.name: file.name for file in visit.files}
        return {
            "facts": facts.rows,
            "cautions": [visit.in_words(text) for text in facts.cautions],
            "notice": facts.notice,
            "size": upright_size(layers[0].info) if layers else None,
            "layers": [{"key": layer.key, "title": layer.title, "strength": layer.has_strength} for layer in layers],
            "frames": [
                {"name": names.get(frame.file, frame.file), "accepted": frame.accepted, "words": frame.words}
                for frame in result.frames
            ],
            "verdict": visit.in_words(result.verdict),
            "accepted": result.accepted,
            "worth": result.worth,
            "formats": formats_of(visit.files[0].path) if result.changed else [],
            "report": bool(result.frames) and result.changed is not None,
            "scored": visit.sample is not None and not visit.sample.burst and result.changed is not None,
        }

    def _asked(self, request: Request, visit: Visit) -> tuple[Layer, float, bool]:
        """Return the layer that an address asks for, at which strength, and whether what was taken away is meant."""
        layers = () if visit.result is None else visit.result.layers
        found = [layer for layer in layers if layer.key == request.path_params["layer"]]
        if not found:
            raise InputFileError("there is no such picture yet; wait until the shot is denoised")
        residual = request.query_params.get("residual") == "1" and found[0].has_strength
        return found[0], _share(request), residual


def _number(request: Request, name: str) -> float:
    """Return a number of an address; what is none is 0."""
    with contextlib.suppress(ValueError):
        number = float(request.query_params.get(name, "0"))
        if math.isfinite(number):
            return max(-1e6, min(1e6, number))
    return 0.0


def _share(request: Request) -> float:
    return max(0.0, min(1.0, _number(request, "strength"))) if "strength" in request.query_params else 1.0


def _refusal(text: str, status: int) -> Response:
    return JSONResponse({"error": " ".join(text.split())}, status)
