import builtins
import json

import pytest

from skysift.cli import main
from skysift.store.table import RunsTable


@pytest.fixture
def folder(session):
    return str(session.one.parent)


def csv_of(capsys, *arguments):
    assert main(["runs", *arguments, "--csv"]) == 0
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    return lines[0], lines[1:]


def test_columns_are_those_asked_for_in_their_order(folder, capsys):
    header, rows = csv_of(capsys, folder, "--columns", "r, run,mask,beta_dust patches")
    assert header == ["r", "run", "mask", "beta_dust patches"]
    assert [row[2] for row in rows] == ["GAL080"] * 3
    assert sorted(int(row[3]) for row in rows) == [2, 5, 12]


def test_sorted_both_ways_with_runs_without_a_value_last(folder, session, capsys):
    _, up = csv_of(capsys, folder, "--sort", "r", "--columns", "run,r")
    _, down = csv_of(capsys, folder, "--sort", "-r", "--columns", "run,r")
    assert up[-1][0] == down[-1][0] == str(session.one)
    assert [float(row[1]) for row in up[:-1]] == sorted(float(row[1]) for row in up[:-1])
    assert [row[0] for row in up[:-1]] == [row[0] for row in down[:-1]][::-1]


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["kind=separate"], 1),
        (["patches.beta-dust=kmeans:5"], 1),
        (["patches.beta_dust=kmeans:5", "kind=separate"], 0),
        (["nside=8"], 3),
        (["nside=8.0"], 3),
        (["nside=eight"], 0),
        (["converged=true"], 3),
        (["converged=false"], 0),
        (["r="], 1),
    ],
)
def test_runs_with_a_value(folder, capsys, conditions, count):
    arguments = [word for one in conditions for word in ("--where", one)]
    _, rows = csv_of(capsys, folder, *arguments)
    assert len(rows) == count


def test_no_run_with_a_value_says_so(folder, capsys):
    assert main(["runs", folder, "--where", "nside=16"]) == 0
    assert "no runs" in capsys.readouterr().out


def test_chosen_columns_as_a_table(folder, capsys):
    assert main(["runs", folder, "--columns", "kind,objective"]) == 0
    out = capsys.readouterr().out
    assert "objective" in out
    assert "nside" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "run,objctive"], "columns: unknown column 'objctive'. Did you mean 'object"),
        (["--sort", "-sigma_pluss"], "sort: unknown column 'sigma_pluss'. Did you mean 'sigma_pl"),
        (["--where", "msk=GAL080"], "where: unknown column 'msk'. Did you mean 'mask'?"),
        (["--where", "mask"], "where: expected KEY=VALUE, got 'mask'"),
    ],
)
def test_wrong_columns(folder, capsys, arguments, message):
    assert main(["runs", folder, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_parquet_holds_the_table(folder, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "sub" / "runs.parquet"
    assert main(["runs", folder, "--parquet", str(file), "--where", "kind=monte-carlo"]) == 0
    assert "2 runs in" in capsys.readouterr().out
    read = parquet.read_table(file).to_pydict()
    table = RunsTable.of(folder).where("kind", "monte-carlo")
    assert list(read) == list(table.columns)
    for column, values in zip(table.columns, zip(*table.rows(), strict=True), strict=True):
        assert read[column] == list(values)


def test_parquet_without_pyarrow_names_the_extra(folder, tmp_path, monkeypatch, capsys):
    whole = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["runs", folder, "--parquet", str(tmp_path / "x.parquet")]) == 2
    assert "skysift[parquet]" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()


def test_columns_of_mixed_types_become_one(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, value in (("a", 3), ("b", 2.5), ("c", None)):
        for kind in ("mixed", "other"):
            (tmp_path / kind / name).mkdir(parents=True)
            fact = "text" if kind == "other" and name == "b" else value
            record = {"kind": "separate", "config_hash": "x", "summary": {"n": fact}}
            (tmp_path / kind / name / "manifest.json").write_text(json.dumps(record))
    RunsTable.of(tmp_path / "mixed").write_parquet(tmp_path / "m.parquet")
    RunsTable.of(tmp_path / "other").write_parquet(tmp_path / "o.parquet")
    assert parquet.read_table(tmp_path / "m.parquet").to_pydict()["n"] == [3.0, 2.5, None]
    assert parquet.read_table(tmp_path / "o.parquet").to_pydict()["n"] == ["3", "text", None]
