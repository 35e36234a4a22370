"""The HTML page, the Markdown file and the JSON file of a comparison."""

import json
import re

import pytest
from helpers.run_directories import write_run

from mmdprior.cli.main import main
from mmdprior.comparison import read_runs, write_page


@pytest.fixture(scope="session")
def report(shared_runs, tmp_path_factory):
    """The folder that ``compare --out`` writes."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["compare", str(shared_runs), "--out", str(out)]) == 0
    return out


def test_page_loads_nothing_and_describes_every_image(report):
    page = (report / "index.html").read_text()
    assert not re.search(r"""(src|href)=["']?(?!["']?data:)|url\(|@import|<script .*src""", page)
    assert page.count("<script") == 1  # it sorts tables
    images = re.findall(r"<img [^>]*>", page)
    assert images
    assert all(re.search(r'alt="[^"]{10,}"', image) for image in images)
    for text in (
        "Prior matched",
        "19.20 ± 0.28",
        "regularizer",
        "prior=uniform",
        "mmdprior compare",
    ):
        assert text in page
    headings = ("codes independent?", "Settings that differ", "Codes and images")
    places = [page.index(heading) for heading in headings]
    assert places == sorted(places)
    shared = re.search(r"Settings that all runs share.*?</details>", page, re.DOTALL).group()
    assert "latent_dim: 3" in shared
    assert "seed" not in shared


def test_markdown_and_json_have_the_numbers_of_the_page(report):
    text = (report / "comparison.md").read_text()
    assert "19.20 ± 0.28" in text
    assert "    mmdprior compare" in text
    assert "torch" in text.splitlines()[-1]
    for file in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (report / file).is_file()
        assert (report / file).with_suffix(".svg").is_file()
    content = json.loads((report / "comparison.json").read_text())
    numbers = {group["label"]: group["numbers"] for group in content["groups"]}
    assert numbers["mmd"]["reconstruction/psnr"]["mean"] == pytest.approx(19.2)
    assert numbers["vae"]["lps/mlp"]["by_run"] == [0.3, 0.3]


def test_names_are_escaped(tmp_path):
    write_run(tmp_path / "a", name="<script>x</script>")
    page = write_page(
        read_runs([tmp_path]), tmp_path / "out", command="the <command>", versions={"torch": "9"}
    )
    text = page.read_text()
    assert text.count("<script") == 1  # that of the page
    assert "<script>x" not in text
    assert "the &lt;command&gt;" in text
    assert "torch 9" in text


def test_damaged_codes_are_reported_on_the_page(tmp_path):
    run = write_run(tmp_path / "a")
    (run / "report" / "codes.npz").write_bytes(b"PK not an archive")
    page = write_page(read_runs([tmp_path]), tmp_path / "out").read_text()
    assert "codes.npz: not readable" in page


def test_a_folder_that_cannot_be_written_is_one_line(shared_runs, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["compare", str(shared_runs), "--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err
