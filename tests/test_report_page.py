"""The report's page in a real browser: it opens on its own, its sliders move, it fits a phone."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from burst_denoise.reporting.report import write_report
from tests.conftest import CHROMIUM
from tests.reports import realistic_report

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report #1 & <so on>.html"
    report = realistic_report()
    write_report(path, replace(report, crops=[report.crops[0], replace(report.crops[0], shot="again")]))
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Return a function that opens the page; at the end, nothing may have gone wrong in any of them."""
    contexts, troubles = [], []

    def open_page(width: int = 1280, **settings: object):
        context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def seen(page, folder: Path) -> np.ndarray:
    """Return what is on the screen of the first slider, RGB; browsers put pictures on whole pixels."""
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    clip = {name: round(number) for name, number in stage.bounding_box().items()}
    page.screenshot(path=folder / "seen.png", clip=clip)
    return cv2.imread(str(folder / "seen.png"))[..., ::-1].astype(int)


def split(page) -> float:
    """Return where the first slider's line stands, as a share of the width, by what is cut off the left picture."""
    cut = page.locator(".stage").first.locator("img.left").evaluate("image => getComputedStyle(image).clipPath")
    return 1 - float(re.fullmatch(r"inset\(0px ([\d.]+)(%|px) 0px 0px\)", cut)[1]) / 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_without_a_complaint_or_another_host_and_fits_its_width(opened, width: int, scheme: str):
    page = opened(width, color_scheme=scheme)
    assert page.title() == realistic_report().title
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.locator(".scroll").evaluate_all("boxes => boxes.filter(b => b.scrollWidth > b.clientWidth).length")
    assert (wide > 0) == (width == 390), "on a phone the wide tables scroll in their boxes, on a desk none does"
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_no_column_hides_another_and_a_line_tells_that_tables_scroll(opened):
    for width, phone in ((390, True), (1280, False)):
        page = opened(width)
        told = page.get_by_text("The table scrolls sideways.")
        assert [line.is_visible() for line in told.all()] == [phone, phone]
        first = page.locator("tbody tr:not(.group) > th").first.evaluate("cell => getComputedStyle(cell).position")
        assert first == ("static" if phone else "sticky")


def test_a_slider_stays_on_the_screen_of_a_phone(opened):
    box = opened(390).get_by_role("slider").first.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_a_drag_moves_the_line_to_the_pointer(opened):
    page = opened()
    page.locator(".stage").first.scroll_into_view_if_needed()
    box = page.locator(".stage").first.bounding_box()
    assert split(page) == 0.5
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for share in (0.4, 0.3, 0.2):
        page.mouse.move(box["x"] + share * box["width"], middle)
    page.mouse.up()
    assert split(page) == pytest.approx(0.2, abs=0.011)


def test_arrow_keys_and_home_and_end_move_the_line(opened):
    page = opened()
    slider = page.get_by_role("slider").first
    slider.focus()
    for key, place in (("ArrowRight", 0.51), ("ArrowLeft", 0.5), ("Home", 0.0), ("ArrowLeft", 0.0), ("End", 1.0)):
        page.keyboard.press(key)
        assert split(page) == pytest.approx(place)
    assert page.locator(".stage").nth(1).evaluate("s => getComputedStyle(s).getPropertyValue('--at')") == "50%"
    assert slider.get_attribute("aria-valuetext").startswith("100 % one noisy frame")


def test_a_picture_is_shown_pixel_by_pixel_on_its_side_of_the_line(opened, tmp_path):
    noisy, denoised, *_ = (picture.astype(int) for picture in realistic_report().crops[0].versions.values())
    page = opened()
    screen = seen(page, tmp_path)
    assert screen.shape == noisy.shape
    left, right = slice(4, 150), slice(230, 376)  # away from the round corners, the line and its knob
    np.testing.assert_array_equal(screen[4:-4, left], noisy[4:-4, left])
    np.testing.assert_array_equal(screen[4:-4, right], denoised[4:-4, right])


def test_on_a_phone_a_picture_is_cut_and_not_scaled(opened, tmp_path):
    noisy = next(iter(realistic_report().crops[0].versions.values())).astype(int)
    page = opened(390)
    page.get_by_role("slider").first.press("End")
    page.evaluate("document.activeElement.blur()")
    screen = seen(page, tmp_path)
    assert screen.shape == (280, 358, 3)
    np.testing.assert_array_equal(screen[4:100, 4:330], noisy[4:100, 4:330])


def test_the_pictures_left_and_right_can_be_chosen(opened, tmp_path):
    *_, mean = realistic_report().crops[0].versions.values()
    page = opened()
    page.get_by_label("left picture").first.select_option("mean of 8 frames")
    screen = seen(page, tmp_path)
    np.testing.assert_array_equal(screen[4:-4, 4:150], mean[4:-4, 4:150])
    page.get_by_label("right picture").first.select_option("mean of 8 frames")
    screen = seen(page, tmp_path)
    np.testing.assert_array_equal(screen[4:-4, 230:376], mean[4:-4, 230:376])


def test_without_scripts_the_pictures_are_there_all_the_same(opened, tmp_path):
    noisy, denoised, *_ = realistic_report().crops[0].versions.values()
    screen = seen(opened(java_script_enabled=False), tmp_path)
    np.testing.assert_array_equal(screen[4:-4, 4:150], noisy[4:-4, 4:150])
    np.testing.assert_array_equal(screen[4:-4, 230:376], denoised[4:-4, 230:376])


CONTRASTS = """() => {
  const luminance = (rgb) => rgb.slice(0, 3).map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  ).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('script, option')) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const ink = luminance(numbers(element.closest('svg') ? style.fill : style.color));
    const paper = luminance(numbers(getComputedStyle(ground).backgroundColor));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    found.push([contrast, walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_weak_eyes_need(opened, scheme: str):
    found = opened(color_scheme=scheme).evaluate(CONTRASTS)
    assert len(found) > 300
    assert [pair for pair in found if pair[0] < 4.5] == [], "WCAG 2.2, level AA"
