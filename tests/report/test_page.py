import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from skysift.grid import Grid
from skysift.report import page as page_module
from skysift.report import sheet as sheet_module
from skysift.report.data import ReportData
from skysift.report.page import sheet_of, tiles, write_page, write_report
from skysift.report.sheet import Origin, render_sheet

_VOID = {"meta", "img", "br", "link", "hr", "input"}
EXPECTED = (
    "parameter-maps",
    "parameter-histograms",
    "patches",
    "components",
    "spectra",
    "truth-components",
    "truth-parameters",
    "residual-levels",
    "residual-maps",
    "chi2",
    "chi2-map",
    "convergence",
)


class Outline(HTMLParser):
    """Tags that close, anchors and what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.loads = [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.loads += [attributes[key] for key in ("src", "href", "srcset") if key in attributes]
        assert tag not in ("script", "iframe", "link", "object")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def html(example, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    written = write_page(
        path,
        example.fit,
        maps=example.sim.maps,
        truth=example.sim.truth,
        origin=Origin(
            "mask: GAL060\nname: <b>",
            "skysift separate sky --mask GAL060 -o runs/a",
            {"hash": "f00d", "machine": {"cpus": 2}},
        ),
    )
    assert written == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture
def no_pixels(monkeypatch):
    """Figures are made but not drawn, which takes most of the time."""
    monkeypatch.setattr(sheet_module, "png", lambda figure: b"png")


def test_the_page_needs_nothing_else(html):
    page = outline(html)
    for target in page.loads:
        assert target.startswith(("data:image/png;base64,", "#"))
        if target.startswith("#"):
            assert target[1:] in page.ids
    assert not re.search(r"https?://|@import|url\(", html)
    assert len(html) < 6e6


def test_the_page_has_every_section(html):
    ids = outline(html).ids
    for section in ("summary", "parameters", "amplitudes", "figures", "repeat", "provenance"):
        assert section in ids
    assert [key for key in ids if key in EXPECTED] == list(EXPECTED)
    assert html.count("<figcaption>") == len(EXPECTED)


def test_the_page_says_how_to_repeat_it_and_escapes(html):
    assert "skysift separate sky --mask GAL060 -o runs/a" in html
    assert "name: &lt;b&gt;" in html
    assert "machine.cpus" in html
    assert "f00d" in html
    assert re.search(r"skysift&nbsp;\d", html)


def test_the_page_states_convergence(example, html, no_pixels):
    assert 'class="status good"' in html
    status = dataclasses.replace(example.data.status, converged=False, message="iteration limit")
    bad = render_sheet(sheet_of(_small(example.data, status=status)))
    assert 'class="status bad"' in bad
    assert "iteration limit" in bad


def test_the_table_counts_bounds(example, html):
    row = re.search(r"<tr><td>temp_dust \[K\]</td>.*?</tr>", html, re.S)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[0])
    parameter = example.data.parameters[1]
    assert cells[1] == str(parameter.values.size)
    assert float(cells[2]) == pytest.approx(parameter.map.mean(), rel=1e-3)
    assert cells[6:8] == ["2", "0"]
    assert 'class="warn">2<' in row[0]


def test_a_stored_run_gives_the_same_page_without_truth(example, tmp_path, no_pixels):
    data = ReportData.from_dataset(example.fit.to_dataset())
    page = outline(write_report(tmp_path / "r.html", data).read_text(encoding="utf-8"))
    left = [key for key in EXPECTED if not key.startswith(("truth", "residual"))]
    assert [key for key in page.ids if key in EXPECTED] == left


def test_weights_that_are_no_noise_are_pointed_out(example, no_pixels):
    assert 'class="note"' in render_sheet(
        sheet_of(_small(example.data, chi2=1e-8 * example.data.chi2))
    )
    assert 'class="note"' not in render_sheet(sheet_of(_small(example.data)))


def test_bare_arrays_and_no_free_parameters(example, no_pixels):
    data = dataclasses.replace(
        example.data,
        grid=Grid.unstructured(example.data.grid.size),
        parameters=(),
        residuals=None,
    )
    page = render_sheet(sheet_of(data))
    shown = [key for key in outline(page).ids if key in EXPECTED]
    assert shown == ["chi2", "convergence"]
    assert "Every spectral parameter was held fixed" in page
    assert "bare cells" in page


def test_summary_numbers(example):
    values = {tile.label: tile.value for tile in tiles(example.data)}
    assert float(values["objective"]) == pytest.approx(0.5 * example.data.chi2.sum(), rel=1e-9)
    assert values["iterations"] == "7"
    assert values["solve time"] == "0.63 s"
    assert values["cells"] == str(example.data.grid.size)
    assert int(values["free parameters"]) == sum(p.values.size for p in example.data.parameters)


def test_a_failed_write_leaves_the_old_page(example, tmp_path, monkeypatch, no_pixels):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_module.Path, "replace", full)
    with pytest.raises(OSError, match=r"disk full while writing .*report.html"):
        write_report(path, _small(example.data))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_truth_of_another_sky(example, tmp_path):
    north = np.arange(768) < 100
    with pytest.raises(ValueError, match="cells that the maps hold"):
        write_page(tmp_path / "r.html", example.fit, truth=example.sim.truth.masked(north))


def _small(data: ReportData, **changes) -> ReportData:
    """The same without sky maps, to be quick."""
    return dataclasses.replace(
        data, grid=Grid.unstructured(data.grid.size), parameters=(), residuals=None, **changes
    )
