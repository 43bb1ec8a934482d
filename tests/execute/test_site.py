import pytest

from skysift.execute import Site

_TEXT = """
queue: regular
account: m1234
jobs: 3
workers: 4
cores: 8
memory: 16GB
walltime: "01:30:00"
prologue:
  - module load python
directives: --constraint=cpu
"""


def test_a_site_is_read_from_yaml(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(_TEXT)
    assert Site.load(path) == Site(
        queue="regular",
        account="m1234",
        jobs=3,
        workers=4,
        cores=8,
        memory="16GB",
        walltime="01:30:00",
        prologue=("module load python",),
        directives=("--constraint=cpu",),
    )
    assert Site.load(path).threads == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quene: regular", r"site.yaml: unknown key 'quene'. Did you mean 'queue'\?"),
        ("colour: red", r"unknown key 'colour'. Expected queue, account"),
        ("jobs: two", r"jobs: expected a whole number, got 'two'"),
        ("jobs: true", r"jobs: expected a whole number, got True"),
        ("jobs: 0", r"jobs: expected at least 1, got 0"),
        ("{cores: 8, workers: 3}", r"workers: expected a divisor of the 8 cores of a job, got 3"),
        ("memory: 16", r"memory: expected text, got 16"),
        ("memory: plenty", r"memory: expected such as '16GB', got 'plenty'"),
        ("walltime: 1:30:00", r"walltime: expected text, got 5400. Put it in quotes"),
        ("walltime: long", r"walltime: expected hours:minutes:seconds"),
        ("prologue: [1]", r"prologue: expected a list of texts, got \[1\]"),
        ("account: 12", r"account: expected text, got 12"),
        ("[queue]", r"expected a mapping such as `queue: debug`"),
        ("queue: [", r"expected YAML, got a file that cannot be read"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, text, message):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Site.load(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"site: expected a YAML file at .*none\.yaml, got none"):
        Site.load(tmp_path / "none.yaml")
