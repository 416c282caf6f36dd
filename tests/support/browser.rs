//! Pictures of pages, by a Chromium where the machine has one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names it goes by; `BACKSTOP_CHROMIUM` names another.
const NAMES: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BACKSTOP_CHROMIUM") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

#[allow(clippy::print_stdout, reason = "a skipped picture is said aloud")]
/// Draws `page` as PNG `to`, `size` pixels wide and high. Without a browser it is said and skipped.
pub fn picture(page: &Path, (width, height): (u32, u32), to: &Path) {
    let Some(browser) = browser() else {
        println!(
            "SKIPPED: no Chromium on this machine, so no picture of {}",
            page.display()
        );
        return;
    };
    let profile = tempfile::tempdir().unwrap();
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/root/usr/share");
    let status = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", to.display()))
        .arg(format!("file://{}", page.display()))
        // Its Chinese font, where the machine has none.
        .env("XDG_DATA_HOME", shared)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the browser ended with {status}");
    let png = std::fs::read(to).unwrap();
    assert!(
        png.starts_with(b"\x89PNG"),
        "{} is no picture",
        to.display()
    );
}
