import json
import shutil
from pathlib import Path

from tests.cli.conftest import CommandLine


def test_provisioning_makes_a_kit_for_each_site_and_says_what_to_do_with_them(cli: CommandLine, home: Path):
    text = cli("federation", "provision", "--sites", "2", "--host", "fl.example.org")
    assert text.exit_code == 0 and "Bring each kit to its site" in text.stdout
    assert (home / "federation" / "sites" / "site-1" / "identity.key").is_file()
    again = cli.data("federation", "provision", "--sites", "2")
    assert [Path(kit).name for kit in again["kits"]] == ["site-0", "site-1"]


def test_no_private_key_is_printed(cli: CommandLine, home: Path):
    said = cli("federation", "provision", "--sites", "2").output
    shutil.move(home / "federation" / "sites" / "site-1", home / "lost" / "site-1")
    said += cli("federation", "provision", "--new-kit", "site-1").output
    (home / "federation" / "ca.key").rename(home / "off-line.key")
    (home / "federation" / "sites" / "site-1" / "tls.key").unlink()
    said += cli("federation", "provision").output + cli("federation", "revoke", "site-0").output
    keys = ["".join(path.read_text().splitlines()[1:-1]) for path in home.rglob("*.key")]
    assert "site-1 is not whole" in said and "ca.key is needed" in said
    assert len(keys) == 10 and not any(key[:30] in said for key in keys)


def entries(home: Path) -> dict[str, dict[str, object]]:
    roster = json.loads((home / "federation" / "roster.json").read_text())
    return {entry["name"]: entry for entry in roster["sites"]}


def test_kits_that_were_brought_to_their_sites_stay_valid_and_a_lost_one_is_replaced_by_name(
    cli: CommandLine, home: Path
):
    folder = home / "federation"
    cli("federation", "provision", "--sites", "3")
    first = entries(home)
    shutil.rmtree(folder / "sites")
    again = cli.data("federation", "provision")
    assert (again["kits"], again["elsewhere"]) == ([], ["site-0", "site-1", "site-2"]) and entries(home) == first
    text = cli("federation", "provision", "--sites", "5")
    assert "Not here, and left as they are: site-0, site-1, site-2" in text.stdout and "site-4" in text.stdout
    assert {name: entry for name, entry in entries(home).items() if name in first} == first
    assert sorted(kit.name for kit in (folder / "sites").iterdir()) == ["site-3", "site-4"]

    replaced = cli.data("federation", "provision", "--new-kit", "site-1", "--new-kit", "site-2")
    assert replaced["elsewhere"] == ["site-0"]
    now = entries(home)
    assert now["site-0"] == first["site-0"] and now["site-1"]["index"] == 1
    names = ("identity_key", "node_key", "certificate_sha256")
    assert all(now[site][name] != first[site][name] for site in ("site-1", "site-2") for name in names)
    lies_here = cli.error("federation", "provision", "--new-kit", "site-1")
    assert lies_here["message"] == "the kit of site-1 lies here" and lies_here["hint"].startswith("delete ")
    unknown = cli.error("federation", "provision", "--new-kit", "site-9")
    assert unknown["hint"] == "choose one of: site-0, site-1, site-2, site-3, site-4"
    assert entries(home) == now


def test_a_local_site_whose_kit_is_elsewhere_is_refused_before_anything_starts(cli: CommandLine, home: Path):
    cli("federation", "provision", "--sites", "3")
    shutil.rmtree(home / "federation" / "sites" / "site-1")
    known = entries(home)
    refused = cli.error("run", "--sites", "4", "-c", "samples=200", "-c", "test-samples=100")
    assert refused["message"] == "site-1 cannot be started on this machine"
    assert "the kit does not lie in" in refused["why"]
    assert refused["hint"] == (
        "-c remote-sites=3 if started elsewhere; if a kit is lost: secure-fl federation provision --new-kit site-1"
    )
    assert entries(home) == known and not list(home.glob("runs/*/logs"))


def test_with_ca_key_off_line_a_command_that_signs_says_that_it_is_needed(cli: CommandLine, home: Path):
    cli("federation", "provision", "--sites", "2")
    (home / "federation" / "ca.key").rename(home / "off-line.key")
    assert cli("federation", "provision").exit_code == 0
    for command in (("provision", "--sites", "3"), ("revoke", "site-0")):
        refused = cli.error("federation", *command)
        assert refused["message"].startswith("ca.key is needed to ") and "holds no ca.key" in refused["why"]
        assert "bring the federation's ca.key to" in refused["hint"]
    assert not (home / "federation" / "ca.key").exists()


def test_a_revoked_site_is_out_and_an_unknown_one_is_refused(cli: CommandLine):
    cli("federation", "provision", "--sites", "2")
    assert cli.data("federation", "revoke", "site-1") == {"revoked": "site-1", "admitted": ["site-0"]}
    assert cli.error("federation", "revoke", "site-7")["hint"] == "choose one of: site-0, site-1"


def test_a_site_whose_kit_or_coordinator_is_not_there_ends_with_one_clear_error(
    cli: CommandLine, home: Path, free_port: int
):
    cli("federation", "provision", "--sites", "1")
    kit = home / "federation" / "sites" / "site-0"
    nobody = cli.error("federation", "site", "--kit", str(kit), "--address", f"127.0.0.1:{free_port}")
    assert nobody["error_code"] == "FEDERATION_FAILED" and "nothing listens there" in nobody["message"] + str(nobody)
    absent = cli.error("federation", "site", "--kit", str(home / "site-9"), "--address", "127.0.0.1:1")
    assert "node.key" in absent["message"]
    nameless = cli.error("federation", "site", "--kit", str(home), "--address", "127.0.0.1:1")
    assert nameless["exit_code"] == 2 and "--index" in nameless["hint"]
