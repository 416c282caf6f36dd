//! Who may import whom: `domain` stands alone, and stages meet only in `app`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const STAGES: [&str; 8] = [
    "ingest", "enrich", "decide", "act", "notify", "report", "sync", "publish",
];
const OUTER: [&str; 4] = ["web", "cli", "app", "rehearsal"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a text names behind `crate::`, nested groups of a `use` included; documentation
/// links to any room they like.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut named = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let word = |text: &str| -> String {
            let text = text.trim_start();
            text.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        };
        let Some(group) = after.strip_prefix('{') else {
            named.insert(word(after));
            continue;
        };
        let mut depth = 0_i32;
        let mut start = 0;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    named.insert(word(group.get(start..).unwrap_or_default()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    named.insert(word(group.get(start..).unwrap_or_default()));
                    start = place + 1;
                }
                _ => {}
            }
        }
    }
    named.remove("");
    named
}

#[test]
fn the_reader_of_imports_sees_groups_and_skips_documentation() {
    let text =
        "use crate::{act::{a, b}, http};\n//! [`crate::web`]\nlet x = crate::store::open();\n";
    let named: Vec<String> = rooms_named(text).into_iter().collect();
    assert_eq!(named, ["act", "http", "store"]);
}

#[test]
fn rooms_import_only_what_the_design_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    let mut seen = 0;
    for room in std::fs::read_dir(&source).unwrap() {
        let room = room.unwrap().path();
        if !room.is_dir() {
            continue;
        }
        let name = room.file_name().unwrap().to_str().unwrap().to_owned();
        let mut found = Vec::new();
        files(&room, &mut found);
        for file in found {
            seen += 1;
            let text = std::fs::read_to_string(&file).unwrap();
            for other in rooms_named(&text) {
                if other != name && is_forbidden(&name, &other) {
                    broken.push(format!("{}: {name} imports {other}", file.display()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} files were read");
    assert_eq!(broken, Vec::<String>::new());
}

fn is_forbidden(room: &str, other: &str) -> bool {
    if OUTER.contains(&room) {
        // The web room is the outermost ring of the service and knows no stage.
        return room == "web"
            && (STAGES.contains(&other) || ["app", "cli", "rehearsal"].contains(&other));
    }
    match room {
        "domain" => true,
        _ => STAGES.contains(&other) || OUTER.contains(&other),
    }
}
