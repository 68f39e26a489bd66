"""The page over HTTP: who may ask, what a name may be, what is left, and that a result is the command's."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.io.raw import read_raw
from burst_denoise.web.visits import attachment, result_name, shown_name
from tests.shots import burst_frames, stored, verdicts, write_frames, write_identity_model
from tests.web_server import Server, serving, wait_for

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("shots"), burst_frames(1, size=(96, 128)))[0]


def raw_answer(server: Server, request: bytes) -> bytes:
    """Return the first line of what is answered to bytes."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(request)
        return connection.recv(1000).partition(b"\r\n")[0]


HERE = "127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HERE, 200), ("localhost:{port}", 200), ("localhost", 200), ("LOCALHOST:{port}", 200), ("evil.example", 403),
        ("evil.example:{port}", 403), ("127.0.0.1.evil.example", 403), ("localhost@evil.example", 403),
        ("evil.example@127.0.0.1", 403), ("127.0.0.1:notaport", 403), ("0.0.0.0:{port}", 403), ("[::1]:{port}", 403),
        ("", 403),
    ],
)  # fmt: skip
def test_only_who_calls_it_by_this_machines_name_is_answered(web_server: Server, host: str, status: int) -> None:
    name = host.format(port=web_server.port)
    line = raw_answer(web_server, f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    assert line.split()[1] == str(status).encode()


@pytest.mark.parametrize(
    ("origin", "status"),
    [(f"http://{HERE}", 200), ("http://evil.example", 403), ("null", 403), (f"https://{HERE}", 403),
     ("http://localhost:{port}", 403), ("http://127.0.0.1:1", 403)],
)  # fmt: skip
def test_a_page_of_another_site_can_have_nothing_done(web_server: Server, origin: str, status: int) -> None:
    headers = {"Origin": origin.format(port=web_server.port), "Host": HERE.format(port=web_server.port)}
    found, _, content = web_server.ask("/visits", "POST", headers=headers)
    assert found == status
    if status == 200:
        web_server.json(f"/visits/{json.loads(content)['key']}/end", "POST")


def test_every_answer_forbids_scripts_of_others_and_to_be_kept(web_server: Server) -> None:
    for path in ("/", "/page.js", "/page.css", "/icon.svg", "/samples/coffee.jpg", "/visits/none", "/nothing"):
        _, headers, _ = web_server.ask(path)
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/../app.py", "/app.py", "/page.html", "/samples/..%2fcoffee.jpg", "/samples/x.jpg"])
def test_no_other_file_has_an_address(web_server: Server, path: str) -> None:
    assert web_server.ask(path)[0] == 404


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd\0.dng", '..\\<img src=x onerror=alert(1)>"; filename="Ü 写真.dng']
)
def test_a_name_is_text_and_that_of_the_download_and_no_place_on_the_disk(
    web_server: Server, shot: Path, name: str
) -> None:
    visit = web_server.begin()
    web_server.give(visit, (name, shot.read_bytes()))
    (folder,) = web_server.visits_on_disk()
    assert [path.name for path in folder.iterdir()] == ["shot-01.dng"]
    assert web_server.work(visit)["files"] == [shown_name(name)]
    headers, _ = web_server.taken(visit, "dng?strength=1")
    assert headers["content-disposition"] == attachment(result_name(shown_name(name), "dng"))
    web_server.json(f"{visit}/end", "POST")
    assert web_server.visits_on_disk() == []


def test_a_result_is_that_of_the_command_to_the_byte(web_server: Server, shot: Path, tmp_path: Path, run) -> None:
    visit = web_server.begin()
    web_server.give(visit, (shot.name, shot.read_bytes()))
    web_server.work(visit)
    for strength in (1, 0.35):
        assert run("denoise", shot, "-o", tmp_path / f"{strength}.dng", "--strength", strength).code == 0
        _, content = web_server.taken(visit, f"dng?strength={strength}")
        (tmp_path / "page.dng").write_bytes(content)
        page, command = (read_raw(tmp_path / name) for name in ("page.dng", f"{strength}.dng"))
        np.testing.assert_array_equal(page.dn, command.dn)
        assert (page.notes, page.info.camera, page.info.iso) == (command.notes, command.info.camera, command.info.iso)
    for kind, suffix in (("tiff", ".tif"), ("png", ".png")):
        assert run("denoise", shot, "-o", tmp_path / f"clean{suffix}").code == 0
        _, content = web_server.taken(visit, f"{kind}?strength=1")
        (tmp_path / f"page{suffix}").write_bytes(content)
        page, command = (
            cv2.imread(str(tmp_path / f"{stem}{suffix}"), cv2.IMREAD_UNCHANGED) for stem in ("page", "clean")
        )
        np.testing.assert_array_equal(page, command)
    web_server.json(f"{visit}/end", "POST")


def test_a_merged_burst_is_that_of_the_command(web_server: Server, tmp_path: Path, run) -> None:
    paths = write_frames(tmp_path / "burst", burst_frames(4, size=(96, 128)))
    visit = web_server.begin()
    web_server.give(visit, *((path.name, path.read_bytes()) for path in paths))
    state = web_server.work(visit)
    result = state["result"]
    assert [frame["accepted"] for frame in result["frames"]] == [True] * 4
    assert [layer["key"] for layer in result["layers"]] == ["noisy", "denoised", "mean", "merged"]
    assert result["worth"].startswith("The mean of 4 frames has 2.0 times less noise than one of them. One frame,")
    assert web_server.ask(f"{visit}/frames/0")[1]["content-type"] == "image/jpeg"
    assert run("merge", tmp_path / "burst", "-o", tmp_path / "merged.dng").code == 0
    _, content = web_server.taken(visit, "dng?strength=1")
    (tmp_path / "page.dng").write_bytes(content)
    page, command = read_raw(tmp_path / "page.dng"), read_raw(tmp_path / "merged.dng")
    np.testing.assert_array_equal(page.dn, command.dn)
    assert page.notes == command.notes
    headers, content = web_server.taken(visit, "report")
    assert 'filename="frame_000-report.html"' in headers["content-disposition"]
    assert b"Sensor and denoising report: Synthetic APS-C" in content
    web_server.json(f"{visit}/end", "POST")


def test_frames_of_pictures_are_merged_without_a_network(web_server: Server, tmp_path: Path, run) -> None:
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(60, 190, (12, 16, 3), np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)
    visit = web_server.begin()
    for number in range(5):
        noisy = np.clip(np.rint(scene + rng.normal(0, 6, scene.shape)), 0, 255).astype(np.uint8)
        path = tmp_path / "burst" / f"IMG_{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), noisy)
        web_server.give(visit, (path.name, path.read_bytes()))
    state = web_server.work(visit)
    assert state["job"]["error"] is None
    result = state["result"]
    assert [(layer["key"], layer["strength"]) for layer in result["layers"]] == [("noisy", False), ("mean", False)]
    assert "What can be done" in result["notice"]
    assert result["formats"] == ["tiff", "png"]
    assert run("merge", tmp_path / "burst", "-o", tmp_path / "merged.png").code == 0
    _, content = web_server.taken(visit, "png?strength=0.5")
    (tmp_path / "page.png").write_bytes(content)
    page, command = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("page.png", "merged.png"))
    np.testing.assert_array_equal(page, command)
    web_server.json(f"{visit}/end", "POST")


def test_what_is_wrong_is_told_in_the_words_of_the_program_and_the_visitors_names(
    web_server: Server, shot: Path, tmp_path: Path
) -> None:
    whole = shot.read_bytes()
    cut = web_server.begin()
    web_server.give(cut, ("my shot.dng", whole[: len(whole) // 2]))
    error = web_server.work(cut)["job"]["error"]
    assert error.startswith("my shot.dng: ")
    assert "\n" not in error
    assert str(web_server.temporary) not in error
    web_server.json(f"{cut}/end", "POST")

    visit = web_server.begin()
    for name, content, words in (
        ("a.exe", b"MZ", "a.exe: is no file that is read here; give a raw file, PNG, TIFF, JPEG or BMP"),
        ("clip.mp4", b"0", "clip.mp4: is no file that is read here; give a raw file, PNG, TIFF, JPEG or BMP"),
        ("empty.dng", b"", "empty.dng: is empty; copy it from the camera again"),
        ("", b"0", "shot: is no file that is read here; give a raw file, PNG, TIFF, JPEG or BMP"),
    ):
        assert web_server.json(f"{visit}/files?name={name}", "PUT", content, status=400) == {"error": words}
    assert web_server.json(f"{visit}/work", "POST", status=400)["error"].startswith("nothing was given")
    assert web_server.json(f"{visit}/exports/dng", "POST", status=400)["error"].startswith("there is no result yet")
    assert web_server.json(f"{visit}/whole/noisy", status=400)["error"].startswith("there is no such picture yet")
    assert web_server.json(f"{visit}/scores", status=400)["error"].startswith("the truth behind this shot")
    web_server.json(f"{visit}/end", "POST")
    assert web_server.json(visit, status=410)["error"].startswith("this shot is gone")
    assert web_server.visits_on_disk() == []


def test_a_picture_without_a_model_is_shown_and_it_is_told_what_can_be_done(web_server: Server) -> None:
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8))[1].tobytes()
    visit = web_server.begin()
    web_server.give(visit, ("IMG.JPG", picture))
    state = web_server.work(visit)
    assert state["job"]["state"] == "done"
    assert "What can be done: give the raw file of the same shot" in state["result"]["notice"]
    assert [layer["key"] for layer in state["result"]["layers"]] == ["noisy"]
    assert state["result"]["formats"] == []
    assert web_server.ask(f"{visit}/whole/noisy")[1]["content-type"] == "image/jpeg"
    web_server.json(f"{visit}/end", "POST")


def test_a_grey_picture_of_16_bits_is_denoised_by_the_fast_network_whatever_was_asked(web_server: Server) -> None:
    rng = np.random.default_rng(0)
    noisy = np.rint(20000 + 400 * rng.standard_normal((96, 128))).astype(np.uint16)
    visit = web_server.begin()
    web_server.give(visit, ("grey.png", cv2.imencode(".png", noisy)[1].tobytes()))
    result = web_server.work(visit, "?quality=best")["result"]
    assert result["notice"] == ""
    told = "grey.png: is mono, and no best network comes with the package for that; take fast, which serves here"
    assert told in result["cautions"]
    assert "denoised" in [layer["key"] for layer in result["layers"]]
    web_server.json(f"{visit}/end", "POST")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(web_server: Server) -> None:
    visit = web_server.begin()
    line = raw_answer(
        web_server,
        f"PUT {visit}/files?name=a.dng HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000001\r\n\r\n".encode(),
    )
    assert line.split()[1] == b"400"
    web_server.json(f"{visit}/end", "POST")


def test_of_a_client_who_is_killed_while_it_hands_over_nothing_is_left(web_server: Server) -> None:
    visit = web_server.begin()
    (folder,) = web_server.visits_on_disk()
    connection = socket.create_connection(("127.0.0.1", web_server.port), 10)
    head = f"PUT {visit}/files?name=a.dng HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
    connection.sendall(head.encode() + bytes(3_000_000))
    wait_for(lambda: [path.stat().st_size for path in folder.iterdir()] == [3_000_000])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, as of a killed process
    connection.close()
    wait_for(lambda: list(folder.iterdir()) == [])
    web_server.json(f"{visit}/end", "POST")
    assert web_server.visits_on_disk() == []


def test_work_that_is_cancelled_stops_and_the_next_is_done(web_server: Server, shot: Path, tmp_path: Path) -> None:
    large = write_frames(tmp_path, burst_frames(1, size=(1600, 2400)))[0]
    visit, other = web_server.begin(), web_server.begin()
    web_server.give(visit, ("large.dng", large.read_bytes()))
    web_server.give(other, ("small.dng", shot.read_bytes()))
    web_server.json(f"{visit}/work?quality=best", "POST")
    web_server.json(f"{other}/work", "POST")
    wait_for(lambda: web_server.json(visit)["job"]["stage"] == "denoising")
    assert web_server.json(other)["job"] | {"ahead": 1, "state": "waiting"} == web_server.json(other)["job"]
    begun = time.monotonic()
    web_server.json(f"{visit}/cancel", "POST")
    assert time.monotonic() - begun < 5
    assert web_server.json(visit)["job"]["state"] == "cancelled"
    assert web_server.ended(other)["job"]["state"] == "done"
    for one in (visit, other):
        web_server.json(f"{one}/end", "POST")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A page with a model whose strings would be markup, and more, if anybody took them for such."""
    folder = tmp_path_factory.mktemp("hostile")
    camera = "<script>alert(1)</script>\"'>{{ 7 * 7 }}\u202e../../x"
    frames = [replace(f, info=f.info.model_copy(update={"camera": camera})) for f in burst_frames(3, size=(96, 128))]
    burst = stored(folder / "a.burst", "<b>burst", frames, verdicts(frames), 0.1, 0.001)
    model = write_identity_model(folder / "model.safetensors", burst)
    with serving(folder / "tmp", "--model", model) as server:
        yield server, camera


def test_a_model_with_hostile_strings_serves_and_they_are_text(hostile: tuple[Server, str], tmp_path: Path) -> None:
    server, camera = hostile
    (shot,) = write_frames(tmp_path, burst_frames(1, size=(96, 128)), camera=camera)
    visit = server.begin()
    server.give(visit, ("a.dng", shot.read_bytes()))
    facts = dict(server.work(visit)["result"]["facts"])
    assert facts["Network"].startswith("your model of <script>alert(1)</script>")
    status, headers, _ = server.ask(visit)
    assert (status, headers["content-type"]) == (200, "application/json")
    other = write_frames(tmp_path / "other", burst_frames(1, size=(96, 128)), camera="Another")[0]
    second = server.begin()
    server.give(second, ("b.dng", other.read_bytes()))
    result = server.work(second)["result"]
    assert result["facts"][4] == [
        "Network",
        "the one that comes with the program, as no model of this camera was given",
    ]
    assert any("b.dng" in caution and "Another" in caution for caution in result["cautions"])
    for one in (visit, second):
        server.json(f"{one}/end", "POST")


def test_ten_who_give_files_at_once_are_served_or_told_to_wait_and_nothing_is_left(
    web_server: Server, shot: Path
) -> None:
    content = shot.read_bytes()

    def client(number: int) -> str:
        visit = web_server.begin()
        web_server.give(visit, (f"{number}.dng", content))
        status, _, answer = web_server.ask(f"{visit}/work", "POST")
        while status == 503:
            assert "try again in a minute" in json.loads(answer)["error"]
            time.sleep(0.2)
            status, _, answer = web_server.ask(f"{visit}/work", "POST")
        state = web_server.ended(visit)
        web_server.json(f"{visit}/end", "POST")
        return str(state["job"]["state"])

    with ThreadPoolExecutor(10) as clients:
        assert list(clients.map(client, range(10))) == ["done"] * 10
    assert web_server.visits_on_disk() == []


@pytest.mark.slow
def test_ten_large_shots_at_once_take_less_than_3_gb(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    large = write_frames(tmp_path, burst_frames(1, size=(4000, 6000)))[0].read_bytes()
    with serving(tmp_path_factory.mktemp("web") / "tmp") as server:

        def client(number: int) -> tuple[str, float]:
            visit = server.begin()
            server.give(visit, (f"{number}.dng", large))
            status = 503
            while status == 503:
                status, _, _ = server.ask(f"{visit}/work", "POST")
                time.sleep(0.5)
            most, state = 0.0, "waiting"
            while state in ("waiting", "running"):
                state = server.json(visit)["job"]["state"]
                most = max(most, server.memory_bytes())
                time.sleep(1)
            server.json(f"{visit}/end", "POST")
            return state, most

        with ThreadPoolExecutor(10) as clients:
            ended = list(clients.map(client, range(10)))
        assert [state for state, _ in ended] == ["done"] * 10
        assert max(memory for _, memory in ended) < 3e9
        assert server.visits_on_disk() == []
