"""The data stage with a cache: another folder builds nothing again, and only what is equal is shared."""

import json
from pathlib import Path

import pytest

from tasks.arrays import token_arrays
from tasks.materialize import start_child, steps
from tasks.materialize.build import Build
from tasks.materialize.steps import materialize, run_in_child
from tasks.system.cache_entries import FILES, entries
from tasks.system.content_cache import ContentCache, code_digests
from tests.tasks.materialize.official import flip, make_request

# Vocabulary, pretraining, SST-2 with its test split, STS-B, SQuAD, and the contamination of each of the three.
PARTS = 1 + 2 + 3 + 2 + 2 + 3


def make_cache(folder):
    folder.mkdir(exist_ok=True)
    return ContentCache(folder, 10**9, code_digests(["tasks"]), {"python": "3"})


@pytest.fixture(scope="module")
def cache(made, root, tmp_path_factory):
    """A cache that a run of `make_request(root)` has filled."""
    cache = make_cache(tmp_path_factory.mktemp("cache"))
    lines = []
    data = materialize(make_request(root), tmp_path_factory.mktemp("filling"), lines.append, cache=cache)
    assert len(entries(cache.folder)) == PARTS
    assert not any("cache" in line for line in lines)
    # A cache that is empty changes nothing.
    assert {**data, "seconds": {}} == {**made[1], "seconds": {}}
    return cache


@pytest.fixture
def no_building(monkeypatch):
    """Makes every part that would be built an error."""

    def refuse(*arguments, **options):
        raise AssertionError("built again")

    monkeypatch.setattr(Build, "require_build", refuse)
    monkeypatch.setattr(start_child, "run", refuse)


def test_another_folder_builds_nothing(made, cache, root, tmp_path, no_building):
    output, expected, _ = made
    lines = []
    data = run_in_child(make_request(root), tmp_path, lines.append, cache)
    taken = f"data: {PARTS} parts taken from the cache {cache.folder}"
    assert [line for line in lines if not line.startswith("warning: ")] == [taken]
    assert {**data, "seconds": {}} == {**expected, "seconds": {}}
    for path in output.rglob("*"):
        if path.is_file() and path.name not in (".lock", "data.json"):
            assert (tmp_path / path.relative_to(output)).read_bytes() == path.read_bytes(), path
    # The time that it took stays known.
    assert data["seconds"] == {"cached": pytest.approx(sum(e.seconds for e in entries(cache.folder)), abs=0.01)}
    assert data["seconds"]["cached"] > 0
    # The next call finds everything in the folder itself.
    again = []
    assert run_in_child(make_request(root), tmp_path, again.append, cache) == data
    assert again == []


def test_removed_folders_leave_the_cache_whole(cache, root, tmp_path, no_building):
    """A request of other tasks removes arrays that nobody refers to any more: they go from the folder alone."""
    run_in_child(make_request(root), tmp_path, cache=cache)
    run_in_child(make_request(root, tasks=("glue_sst2_v1",)), tmp_path, cache=cache)
    assert not list(tmp_path.glob("squad*"))
    data = run_in_child(make_request(root), tmp_path, cache=cache)
    for splits in data["tasks"].values():
        assert all(token_arrays.damage(tmp_path / name) is None for name in splits.values())


@pytest.mark.parametrize(
    ("changes", "built"),
    [
        ({"task_length": 17}, {"glue_sst2_v1": 3, "glue_stsb_v1": 2}),
        ({"pretrain_rates": (0.5, 0.5)}, {"pretrain": 1}),
        ({"pretrain_seed": 1}, {"pretrain": 1}),
        ({"validation_rows": 18}, {"pretrain": 1}),
        ({"on_bad_row": "skip"}, {"glue_sst2_v1": 3, "glue_stsb_v1": 2, "squad_v1_1_v1": 2}),
    ],
)
def test_other_settings_share_what_is_equal(cache, root, tmp_path, changes, built):
    lines, copy = [], make_cache(tmp_path / "cache")
    for entry in cache.folder.iterdir():
        (copy.folder / entry.name).symlink_to(entry)
    materialize(make_request(root, **changes), tmp_path / "output", lines.append, cache=copy)
    found = {name: sum(line.startswith(f"{name}: ") for line in lines) for name in built}
    assert found == built
    missing = sum(built.values()) + built.get("pretrain", 0)
    # What is skipped is not compared either.
    missing += 3 if "on_bad_row" in changes else 0
    assert f"data: {PARTS - missing} parts taken from the cache {copy.folder}" in lines


def test_another_file_is_another_part(cache, tmp_path):
    from tests.tasks.materialize.official import write_root

    root = tmp_path / "root"
    write_root(root)
    dev = root / "glue" / "SST-2" / "dev.tsv"
    dev.write_text(dev.read_text().replace("\t1\n", "\t0\n", 1))
    lines, copy = [], make_cache(tmp_path / "cache")
    for entry in cache.folder.iterdir():
        (copy.folder / entry.name).symlink_to(entry)
    data = materialize(make_request(root), tmp_path / "output", lines.append, cache=copy)
    assert [line for line in lines if "rows in" in line] == [
        line for line in lines if line.startswith("glue_sst2_v1: validation 10 rows")
    ]
    labels = token_arrays.load(tmp_path / "output" / data["tasks"]["glue_sst2_v1"]["validation"]).features["label"]
    assert labels.sum() == 4


@pytest.mark.parametrize("change", ["code", "versions"])
def test_other_code_and_other_packages_share_nothing(cache, root, tmp_path, change):
    request = make_request(root, tasks=("glue_sst2_v1",))
    other = {"code": {"tasks": "another"}, "versions": {"python": "4"}}
    one = ContentCache(**{**vars(cache), change: other[change]})
    lines = []
    with pytest.raises(steps.BuildNeededError):
        steps._locked(Build(request, tmp_path, root, lines.append, may_build=False, cache=one))
    assert lines == []


def test_a_damaged_part_is_built_again_in_the_child(cache, root, tmp_path):
    copy = make_cache(tmp_path / "cache")
    for entry in entries(cache.folder):
        target = copy.folder / entry.path.name
        for file in entry.path.rglob("*"):
            if file.is_file():
                (target / file.relative_to(entry.path)).parent.mkdir(parents=True, exist_ok=True)
                (target / file.relative_to(entry.path)).write_bytes(file.read_bytes())
    (harmed,) = [e.path for e in entries(copy.folder) if e.title.startswith("glue_sst2_v1-train")]
    flip(next((harmed / FILES).rglob("input_ids.npy")))
    lines = []
    data = run_in_child(make_request(root), tmp_path / "output", lines.append, copy)
    damaged = [line for line in lines if "is damaged" in line]
    assert len(damaged) == 1 and damaged[0].startswith(f"cache: {harmed} is damaged (glue_sst2_v1-train-")
    assert [line for line in lines if "rows in" in line] == [
        line for line in lines if line.startswith("glue_sst2_v1: train 20 rows")
    ]
    for splits in data["tasks"].values():
        assert all(token_arrays.damage(tmp_path / "output" / name) is None for name in splits.values())
    # The parts that came first, in this process, count as well, and the entry is whole again.
    assert data["seconds"]["cached"] > 0 and "glue_sst2_v1" in data["seconds"]
    assert json.loads((tmp_path / "output" / "data.json").read_text()) == data
    again = []
    run_in_child(make_request(root), tmp_path / "again", again.append, copy)
    assert f"data: {PARTS} parts taken from the cache {copy.folder}" in again


def test_the_embedded_data_are_shared(tmp_path, no_building, monkeypatch):
    request = make_request(
        "", source="microworld", microworld_scale=0.01, pretrain_corpora=("pretrain/microworld.txt",)
    )
    build = Build(request, tmp_path, steps._root_path(request, tmp_path), print, cache=make_cache(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(Build, "require_build", lambda self: None)
        steps._generate_microworld(build)
    other = Build(request, tmp_path / "b", steps._root_path(request, tmp_path / "b"), print, cache=build.cache)
    steps._generate_microworld(other)
    files = sorted(path.relative_to(build.root) for path in build.root.rglob("*") if path.is_file())
    assert files and files == sorted(p.relative_to(other.root) for p in other.root.rglob("*") if p.is_file())
    assert all((other.root / file).read_bytes() == (build.root / file).read_bytes() for file in files)
    assert list(other.cached) == [Path(build.root).name]
    # Another seed is other data.
    last = Build(
        make_request("", source="microworld", microworld_seed=1, microworld_scale=0.01),
        tmp_path / "c",
        tmp_path / "c" / "microworld" / "x",
        print,
        cache=build.cache,
    )
    with pytest.raises(AssertionError, match="built again"):
        steps._generate_microworld(last)
