"""What is installed: the package list, the wheel, and what an import loads."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Where each folder of the checkout is installed.
FOLDERS = {
    "kerasqnn": "kerasqnn",
    "layers": "kerasqnn/layers",
    "export": "kerasqnn/export",
}
METADATA = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
CACHES = ("__pycache__", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints")


def run(*command, cwd, **environment):
    """Run a command away from the checkout and return its output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, f"{command} failed:\n{result.stdout[-6000:]}"
    return result.stdout


def read_setup():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    return setup


def listed_packages():
    return read_setup()["options"]["packages"].split()


def test_every_folder_with_an_init_is_listed_once_and_nothing_else_is():
    found = []
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder).parts
            found.append(".".join((*package.split("/"), *inside)))
    assert sorted(listed_packages()) == sorted(found)


def test_package_folders_are_mapped_one_by_one():
    mapped = {}
    for line in read_setup()["options"]["package_dir"].split("\n"):
        if line:
            package, folder = line.split(" = ")
            mapped[folder] = package.replace(".", "/")
    assert mapped == FOLDERS


def test_version_is_the_one_that_setup_reads():
    import kerasqnn

    assert read_setup()["metadata"]["version"] == "attr: kerasqnn._version.__version__"
    namespace = {}
    exec((ROOT / "kerasqnn/_version.py").read_text(), namespace)
    assert kerasqnn.__version__ == namespace["__version__"]


def test_import_loads_no_heavy_package_that_keras_does_not(tmp_path):
    # Keras itself loads some of them where they are installed.
    program = (
        "import sys, keras; before = set(sys.modules); import kerasqnn; "
        "print('NEW', *sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    lines = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(ROOT))
    new = next(line for line in lines.splitlines() if line.startswith("NEW ")).split()
    heavy = {"hls4ml", "matplotlib", "onnx", "onnxruntime", "pandas", "qkeras"}
    heavy |= {"qonnx", "ray", "scipy", "sklearn", "tf2onnx", "typer"}
    assert "kerasqnn" in new
    assert heavy.isdisjoint(new), sorted(heavy & set(new))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, the wheel from it, and the wheel straight from a copy of the tree."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    tree.mkdir()
    for name in METADATA:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns(*CACHES)
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    command = (sys.executable, "-m", "build", "--no-isolation")
    run(*command, "--outdir", folder / "via_sdist", tree, cwd=folder)
    shutil.rmtree(tree / "kerasqnn.egg-info")
    run(*command, "--wheel", "--outdir", folder / "direct", tree, cwd=folder)
    return folder


def wheel_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    (wheel,) = (built / "direct").glob("kerasqnn-*.whl")
    expected = set()
    for folder, package in FOLDERS.items():
        for path in (built / "tree" / folder).rglob("*"):
            if path.is_file():
                inside = path.relative_to(built / "tree" / folder).as_posix()
                expected.add(f"{package}/{inside}")
    files = set(wheel_files(wheel))
    installed = {n for n in files if ".dist-info/" not in n}
    assert {PurePosixPath(n).parts[0] for n in installed} == {"kerasqnn"}
    assert {"kerasqnn/layers/__init__.py", "kerasqnn/export/__init__.py"} <= installed
    assert not expected - installed, "setup.cfg: package_data lacks these"
    assert not installed - expected
    assert any(n.endswith("LICENSE") for n in files - installed)


@pytest.mark.slow
def test_sdist_builds_the_same_wheel(built):
    (direct,) = (built / "direct").glob("kerasqnn-*.whl")
    (via_sdist,) = (built / "via_sdist").glob("kerasqnn-*.whl")
    assert wheel_files(via_sdist) == wheel_files(direct)
    (sdist,) = (built / "via_sdist").glob("kerasqnn-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert not [n for n in names if n.endswith(".pyc") or "__pycache__" in n]


# Imports every module of the installed package and prints where each one lies. Files in
# `templates` are copied to boards, where other packages are; they are not for import.
IMPORT_EVERYTHING = """
import importlib.util, pkgutil
import kerasqnn

def visit(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if ".templates." in module.name or module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        print("FILE", module.name, loaded.__file__)
        if module.ispkg:
            visit(loaded)

print("FILE", "kerasqnn", kerasqnn.__file__)
visit(kerasqnn)
for name in ("layers", "export"):
    if spec := importlib.util.find_spec(name):
        print("STRAY", name, spec.origin)
"""


@pytest.mark.slow
def test_wheel_works_in_a_fresh_environment(built, tmp_path):
    (wheel,) = (built / "direct").glob("kerasqnn-*.whl")
    home = tmp_path / "venv"
    venv.create(home, system_site_packages=False, with_pip=False, symlinks=True)
    python = home / "bin/python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    run(*pip, "--python", python, "install", *offline, wheel, cwd=tmp_path)
    (site,) = (home / "lib").glob("python*/site-packages")
    # Lend it the packages that this environment has, after the install, so that pip
    # takes no notice of them. A folder named in a .pth file is searched for modules,
    # but .pth files inside it are not read: an editable kerasqnn there stays unknown.
    lent = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    assert lent
    (site / "lent.pth").write_text("\n".join(lent) + "\n")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output = run(python, "-c", IMPORT_EVERYTHING, cwd=elsewhere)
    files = dict(
        line.split(" ", 2)[1:]
        for line in output.splitlines()
        if line.startswith("FILE ")
    )
    assert set(listed_packages()) <= set(files)
    outside = {n: f for n, f in files.items() if not f.startswith(str(site))}
    assert not outside
    assert "STRAY" not in output

    help_text = run(home / "bin/kerasqnn", "--help", cwd=elsewhere)
    assert "demo" in help_text
