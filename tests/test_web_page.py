"""The page in a real browser: both doors to the download, on a desk and a phone, in the light and in the dark."""

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.frame.synthetic import Fault
from burst_denoise.io.raw import read_raw
from tests.conftest import CHROMIUM
from tests.shots import burst_frames, write_frames
from tests.test_report_page import CONTRASTS, split
from tests.web_server import WORK_S, Server, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in: apt-get install chromium"),
]

LONG_MS = WORK_S * 1000
REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
"""What a browser writes by itself where a file is refused."""


@pytest.fixture
def opened(browser, web_server: Server):
    """Return a function that opens the page; at the end nothing may have gone wrong, and no file may be left."""
    pages, troubles = [], []

    def open_page(width: int = 1280, **settings: object):
        page = browser.new_context(viewport={"width": width, "height": 900}, **settings).new_page()
        pages.append(page)
        page.set_default_timeout(LONG_MS)
        page.on("console", lambda message: message.text == REFUSED or troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((web_server.address, "blob:")) or troubles.append(request.url),
        )
        page.goto(web_server.address)
        return page

    yield open_page
    for page in pages:
        page.goto("about:blank")  # as one who leaves
    wait_for(lambda: web_server.visits_on_disk() == [])
    for page in pages:
        page.context.close()
    assert troubles == []


def done(page) -> None:
    """Wait until there is something to take."""
    page.locator("#take").wait_for()


def settled(page) -> None:
    """Wait until all pictures show what was asked for last."""
    until = time.monotonic() + WORK_S
    shown = "[...document.querySelectorAll('.stage img')].every(i => i.shown && i.shown === i.wanted && i.complete)"
    while not page.evaluate(shown):  # the page allows nobody to wait inside it, by code that is no file of its own
        assert time.monotonic() < until
        page.wait_for_timeout(20)


def source(page, where: str) -> str:
    return page.locator(where).get_attribute("src")


def pixels(page, where: str, folder: Path) -> np.ndarray:
    """Return what is on the screen of an element, RGB."""
    element = page.locator(where)
    element.scroll_into_view_if_needed()
    element.screenshot(path=folder / "seen.png")
    return cv2.imread(str(folder / "seen.png"))[..., ::-1].astype(float)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_from_a_sample_to_its_download_in_six_steps(opened, tmp_path: Path, width: int, scheme: str) -> None:
    page = opened(width, color_scheme=scheme)  # 1: open
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Workshop, ISO 1600").click()  # 2: choose
    done(page)
    settled(page)
    page.locator("#gain").wait_for()
    assert re.fullmatch(
        r"PSNR \d\d\.\d → \d\d\.\d dB, SSIM 0\.\d{3} → 0\.\d{3}, against the known truth\.",
        page.locator("#gain").text_content(),
    )
    before, after = map(float, re.findall(r"\d\d\.\d", page.locator("#gain").text_content()))
    assert after > before + 2
    assert "Synthetic APS-C" in page.locator("#facts").text_content()
    assert split(page) == 0.5
    line = page.get_by_label("Place of the line between left and right, whole picture")
    line.focus()
    page.keyboard.press("Home")  # 3: the line moves
    assert split(page) == 0
    page.keyboard.press("End")
    noisy = pixels(page, "#whole .stage", tmp_path)
    page.keyboard.press("Home")
    assert np.abs(pixels(page, "#whole .stage", tmp_path) - noisy).mean() > 2
    part = source(page, "#part .right")
    box = page.locator("#whole .stage").bounding_box()
    page.locator("#whole .stage").click(position={"x": 0.1 * box["width"], "y": 0.9 * box["height"]})  # 4: part follows
    settled(page)
    assert source(page, "#part .right") != part
    assert "left=0&" in source(page, "#part .right")
    took = []
    for strength in ("70", "20", "40"):  # 5: strength
        begun = page.evaluate("performance.now()")
        page.locator("#strength").fill(strength)
        settled(page)
        took.append(page.evaluate("performance.now()") - begun)
    assert min(took) < 1000
    assert "strength=0.4&" in source(page, "#whole .right")
    assert "strength" not in source(page, "#whole .left")
    with page.expect_download() as download:  # 6: take it
        page.locator("[data-format=dng]").click()
    assert download.value.suggested_filename == "motorcycle-iso1600-denoised.dng"
    download.value.save_as(tmp_path / "taken.dng")
    assert "strength 0.4" in read_raw(tmp_path / "taken.dng").notes
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [pair for pair in page.evaluate(CONTRASTS) if pair[0] < 4.5] == [], "WCAG 2.2, level AA"


def test_ones_own_shot_with_the_truth_of_its_name_and_what_was_taken_away(
    opened, tmp_path: Path, shared_data: Path, run
) -> None:
    shot = tmp_path / "<b>Übung #1 & ?.dng"
    shutil.copy(shared_data / "raw_single" / "colorchart.dng", shot)
    page = opened()
    page.set_input_files("#files", shot)
    done(page)
    settled(page)
    assert page.locator("#shot-title").text_content() == shot.name
    assert page.locator("#shot-title b").count() == 0
    page.get_by_label("Right picture").select_option("what was taken away")
    settled(page)
    assert "residual=1" in source(page, "#part .right")
    grey = page.evaluate(
        """async () => {
          const image = await createImageBitmap(await (await fetch(document.querySelector('#part .right').src)).blob());
          const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
          canvas.drawImage(image, 0, 0);
          return [...canvas.getImageData(0, 0, image.width, image.height).data].filter((_, k) => k % 4 === 1);
        }"""
    )
    assert 20 < np.std(grey) < 40, "white noise of standard deviation 1 is 32 on a scale of 4"
    with page.expect_download() as download:
        page.locator("[data-format=dng]").click()
    assert download.value.suggested_filename.endswith("-denoised.dng")
    download.value.save_as(tmp_path / "page.dng")
    assert run("denoise", shot, "-o", tmp_path / "command.dng").code == 0
    np.testing.assert_array_equal(read_raw(tmp_path / "page.dng").dn, read_raw(tmp_path / "command.dng").dn)


def test_a_burst_is_judged_and_merged_and_can_be_cancelled(opened, tmp_path: Path) -> None:
    frames = burst_frames(6, size=(160, 192), faults={4: Fault(shift=(1.6, -0.9))})
    paths = write_frames(tmp_path, frames)
    page = opened()
    page.set_input_files("#files", paths)
    done(page)
    settled(page)
    assert page.locator("#verdict").text_content() == "5 of 6 frames can be used"
    assert page.locator("#strip li.out").count() == 1
    assert page.locator("#found li").text_content().startswith("5, frame_004.dng: ")
    assert "worth" in page.locator("#gain").text_content()
    page.get_by_label("Left picture").select_option("one frame denoised")
    settled(page)
    with page.expect_download() as download:
        page.locator("[data-format=tiff]").click()
    assert download.value.suggested_filename == "frame_000-denoised.tif"
    page.locator("[data-format=report]").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#progress").wait_for(state="hidden")
    page.locator("#quality").select_option("best")
    page.get_by_role("button", name="Denoise again").click()
    page.locator("#progress").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. Choose a shot, or denoise this one again.").wait_for()


@pytest.mark.parametrize(
    ("name", "words"),
    [("cut.dng", "cut.dng: "), ("huge.dng", "huge.dng: claims 696"), ("text.txt", "text.txt: is no file that is read")],
)
def test_what_cannot_be_read_is_told_in_one_line(opened, tmp_path: Path, name: str, words: str) -> None:
    (shot,) = write_frames(tmp_path, burst_frames(1, size=(96, 128)))
    content = shot.read_bytes()
    if name == "cut.dng":
        content = content[: len(content) // 2]
    if name == "huge.dng":
        content = claiming(content, 96, 128, 24000, 29000)
    (tmp_path / name).write_bytes(content)
    page = opened()
    page.set_input_files("#files", tmp_path / name)
    page.locator("#error").wait_for()
    assert page.locator("#error").text_content().startswith(words)
    assert str(tmp_path) not in page.locator("#error").text_content()


def claiming(content: bytes, height: int, width: int, rows: int, columns: int) -> bytes:
    """Return a DNG that claims another size of its mosaic: sides as they stand in the entries of its directories."""
    found = content
    for tag, side, claim in ((256, width, columns), (257, height, rows)):
        for kind, size in ((3, 2), (4, 4)):
            entry = tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
            old = entry + side.to_bytes(size, "little").ljust(4, b"\0")
            new = tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")
            found = found.replace(old, new + claim.to_bytes(4, "little"))
    assert found != content
    return found


def test_a_picture_is_told_what_can_be_done_for_it(opened, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "IMG_1.JPG"), noise)
    page = opened(390, color_scheme="light")
    page.set_input_files("#files", tmp_path / "IMG_1.JPG")
    page.get_by_text("What can be done: give the raw file of the same shot").wait_for()
    settled(page)
    assert page.locator("#take").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_part_is_the_place_that_was_clicked_upright(opened, tmp_path: Path) -> None:
    (frame,) = burst_frames(1, size=(600, 900), hot=0)
    frame.dn[100:140, 700:760] = 15304  # a lamp, at the upper right as stored
    turned = replace(frame, info=frame.info.model_copy(update={"orientation": 6}))  # upright after a turn to the right
    (shot,) = write_frames(tmp_path, [turned])
    page = opened(390)
    page.set_input_files("#files", shot)
    done(page)
    settled(page)
    box = page.locator("#whole .stage").bounding_box()
    assert box["height"] > box["width"]
    # Stored column 730 of 900 is row 730, stored row 120 of 600 is column 600 - 120.
    place = {"x": (600 - 120) / 600 * box["width"], "y": 730 / 900 * box["height"]}
    page.locator("#whole .stage").click(position=place)
    settled(page)
    page.get_by_label("Place of the line between left and right, part at 1:1").press("Home")
    page.evaluate("document.activeElement.blur()")
    seen = pixels(page, "#part .stage", tmp_path)[:, 30:]  # without the line
    bright = np.argwhere(seen.min(axis=2) > 250)
    sides = np.ptp(bright, axis=0)
    assert len(bright) > 1500
    assert tuple(sides + 1) == pytest.approx((60, 40), abs=4)
