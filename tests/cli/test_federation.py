from pathlib import Path

from tests.cli.conftest import CommandLine


def test_provisioning_makes_a_kit_for_each_site_and_says_what_to_do_with_them(cli: CommandLine, home: Path):
    text = cli("federation", "provision", "--sites", "2", "--host", "fl.example.org")
    assert text.exit_code == 0 and "Bring each kit to its site" in text.stdout
    assert (home / "federation" / "sites" / "site-1" / "identity.key").is_file()
    again = cli.data("federation", "provision", "--sites", "2")
    assert [Path(kit).name for kit in again["kits"]] == ["site-0", "site-1"]


def test_no_private_key_is_printed(cli: CommandLine, home: Path):
    text = cli("federation", "provision", "--sites", "1")
    keys = ["".join(path.read_text().splitlines()[1:-1]) for path in home.rglob("*.key")]
    assert keys and not any(key[:30] in text.output for key in keys)


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
