//! `deploy/systemd`, `deploy/debian`, `deploy/container`, and the package that is built of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{is_understood, passes_the_check, root, run};
use crate::support::tools::{Tool, required_in_ci, skipped};

/// Exposure by `systemd-analyze security`, times ten, that no unit may be above. The agent starts other
/// programs as root, so it is let more.
const EXPOSURE: [(&str, u32); 2] = [("backstop-agent@.service", 30), ("", 15)];

fn units() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("deploy/systemd")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let mut units: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|it| it == "service"))
        .collect();
    units.sort();
    assert!(units.len() >= 4, "{units:?}");
    units
}

/// Whether a program of the system is there; a loud line where not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("there is no `{program}` on this machine"));
    }
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The line that starts the service, as words.
fn command_line(unit: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(unit).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let line = line.unwrap_or_else(|| panic!("{} starts nothing", unit.display()));
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_units_are_sound_says_systemd() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let verify = |unit: &Path, changed: &dyn Fn(String) -> String| {
        // The programs are not installed here; `true` stands for them.
        let text = std::fs::read_to_string(unit).unwrap();
        let text = text
            .replace("/usr/bin/backstop ", "/bin/true ")
            .replace("/usr/bin/vmalert ", "/bin/true ");
        std::fs::write(folder.path().join(name(unit)), changed(text)).unwrap();
    };
    for unit in units() {
        verify(&unit, &|text| text);
    }
    for unit in units() {
        let mut command = Command::new("systemd-analyze");
        let file = folder.path().join(name(&unit));
        let (sound, said) = run(command.args(["verify", "--man=no"]).arg(file));
        assert!(sound && said.is_empty(), "{}: {said}", unit.display());
    }
    // A mistake is seen.
    let unit = &units()[0];
    verify(unit, &|text| {
        text.replace("NoNewPrivileges=yes", "NoNewPrivilege=yes")
    });
    let mut command = Command::new("systemd-analyze");
    let file = folder.path().join(name(unit));
    let (_, said) = run(command.args(["verify", "--man=no"]).arg(file));
    assert!(said.contains("NoNewPrivilege"), "{said}");
}

#[test]
fn the_units_may_do_little() {
    if !has("systemd-analyze") {
        return;
    }
    for unit in units() {
        let limits = EXPOSURE
            .iter()
            .find(|(file, _)| name(&unit).ends_with(file));
        let (_, most) = limits.unwrap();
        let mut command = Command::new("systemd-analyze");
        let (within, said) = run(command
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(&unit));
        assert!(within, "{}: {said}", unit.display());
    }
}

#[test]
fn the_units_start_what_the_program_understands() {
    let mut started = 0;
    for unit in units() {
        let words = command_line(&unit);
        if words[0] == "/usr/bin/backstop" {
            is_understood(&words[1..]);
            started += 1;
        }
    }
    assert!(started >= 3, "{started}");
}

#[test]
fn the_canary_vmalerts_flags_are_known_to_the_oldest() {
    if !required_in_ci(Tool::Vmalert) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rules = root().join("deploy/vmalert/rules.yml");
    std::fs::copy(rules, folder.path().join("rules.yaml")).unwrap();
    let words = command_line(&root().join("deploy/systemd/vmalert-canary.service"));
    let flags: Vec<String> = words[1..]
        .iter()
        .filter(|word| *word != "$VMALERT_CANARY_FLAGS")
        .map(|word| {
            word.replace(
                "/var/lib/backstop-canary",
                &folder.path().display().to_string(),
            )
            .replace("${VMALERT_DATASOURCE}", "http://127.0.0.1:8428")
            .replace("${VMALERT_NOTIFIER}", "http://127.0.0.1:9093")
        })
        .collect();
    assert!(flags.iter().all(|flag| !flag.contains('$')), "{flags:?}");
    crate::support::vmalert::check_flags(Tool::Vmalert, &flags).unwrap();
}

/// Builds the package of the program under test, without compressing it.
fn package(to: &Path) -> PathBuf {
    let mut command = Command::new(root().join("scripts/build-deb"));
    let (built, said) = run(command
        .args(["--compression", "none", "--program"])
        .arg(env!("CARGO_BIN_EXE_backstop"))
        .arg("--to")
        .arg(to));
    assert!(built, "{said}");
    PathBuf::from(said.trim())
}

#[test]
fn the_package_installs_a_program_that_runs_as_it_comes() {
    let tools = ["dpkg-deb", "dpkg-shlibdeps", "strip"];
    if !tools.into_iter().all(has) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let of = |option: &str| {
        let (read, said) = run(Command::new("dpkg-deb").arg(option).arg(&package));
        assert!(read, "{said}");
        said
    };
    let control = of("-I");
    let version = env!("CARGO_PKG_VERSION");
    for wanted in [
        "Package: backstop",
        &format!("Version: {version}"),
        "Depends: libc6",
    ] {
        assert!(control.contains(wanted), "{wanted}: {control}");
    }
    let contents = of("-c");
    assert!(
        contents.lines().all(|line| line.contains(" root/root ")),
        "{contents}"
    );
    let files: BTreeSet<&str> = contents
        .lines()
        .filter_map(|line| line.split(" ./").nth(1))
        .collect();
    let units = units();
    let units = units.iter().map(|unit| name(unit));
    let units = units.filter(|unit| unit.starts_with("backstop"));
    let units = units.map(|unit| format!("usr/lib/systemd/system/{unit}"));
    let wanted = [
        "usr/bin/backstop",
        "usr/lib/sysusers.d/backstop.conf",
        "usr/lib/tmpfiles.d/backstop.conf",
        "etc/backstop/backstop.yaml",
        "etc/default/backstop",
        "usr/share/bash-completion/completions/backstop",
        "usr/share/zsh/vendor-completions/_backstop",
        "usr/share/fish/vendor_completions.d/backstop.fish",
        "usr/share/man/man1/backstop.1.gz",
        "usr/share/doc/backstop/copyright",
        "usr/share/doc/backstop/changelog.gz",
        "usr/share/doc/backstop/examples/minimal/backstop.yaml",
    ];
    for wanted in wanted.map(str::to_owned).into_iter().chain(units) {
        assert!(files.contains(wanted.as_str()), "no {wanted}: {contents}");
    }
    assert!(!contents.contains("usr/lib/systemd/system/vmalert"));

    // As it comes, unpacked.
    let root = folder.path().join("root");
    let mut command = Command::new("dpkg-deb");
    assert!(run(command.arg("-x").arg(&package).arg(&root)).0);
    let mut command = Command::new(root.join("usr/bin/backstop"));
    let (runs, said) = run(command.arg("--version").env_clear());
    assert!(
        runs && said.trim() == format!("backstop {version}"),
        "{said}"
    );
    passes_the_check(&root.join("etc/backstop"));
    let conffiles = run(Command::new("dpkg-deb")
        .arg("-I")
        .arg(&package)
        .arg("conffiles"));
    assert_eq!(
        conffiles.1,
        "/etc/backstop/backstop.yaml\n/etc/default/backstop\n"
    );
    let page = run(Command::new("gzip")
        .arg("-dc")
        .arg(root.join("usr/share/man/man1/backstop.1.gz")));
    for verb in ["serve", "rollback", "completion"] {
        assert!(page.1.contains(&format!(".B {verb}\n")), "{}", page.1);
    }
    let completion = root.join("usr/share/bash-completion/completions/backstop");
    let (sound, said) = run(Command::new("bash").arg("-n").arg(completion));
    assert!(sound, "{said}");
}

#[test]
fn the_maintainer_scripts_can_be_read_by_a_plain_shell() {
    for script in ["postinst", "prerm", "postrm"] {
        let file = root().join("deploy/debian").join(script);
        let (sound, said) = run(Command::new("sh").arg("-n").arg(file));
        assert!(sound, "{script}: {said}");
    }
}

#[test]
fn the_container_file_is_sound_says_hadolint() {
    if !required_in_ci(Tool::Hadolint) {
        return;
    }
    let mut command = Command::new(Tool::Hadolint.path().unwrap());
    let file = root().join("deploy/container/Containerfile");
    let (sound, said) = run(command.arg(file));
    assert!(sound, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("Containerfile");
    std::fs::write(&wrong, "FROM debian:latest\nRUN cd /tmp\n").unwrap();
    let mut command = Command::new(Tool::Hadolint.path().unwrap());
    assert!(!run(command.arg(wrong)).0);
}

/// The image is not built here; what can be seen without that is seen.
#[test]
fn the_container_file_copies_what_is_there_and_has_the_rust_that_is_needed() {
    let text = std::fs::read_to_string(root().join("deploy/container/Containerfile")).unwrap();
    let ignored = std::fs::read_to_string(root().join(".containerignore")).unwrap();
    let mut copied = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let mut words: Vec<&str> = line.split(' ').collect();
        if line.starts_with("--from=") {
            continue;
        }
        words.pop();
        for word in words {
            assert!(root().join(word).exists(), "there is no {word}");
            assert!(
                ignored.contains(&format!("!{word}\n")),
                "{word} is left out"
            );
            copied += 1;
        }
    }
    assert!(copied > 4);
    let rust = format!("FROM rust:{}.0-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(text.contains(&rust), "{rust}");
    assert!(text.contains("\nUSER 65532:65532\n"));
    let command = text.lines().find_map(|line| line.strip_prefix("CMD "));
    let arguments: Vec<String> = serde_json::from_str(command.unwrap()).unwrap();
    is_understood(&arguments);
}
