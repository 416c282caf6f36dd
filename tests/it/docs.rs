//! The documentation is as the program is: examples load, links lead somewhere, tables are whole.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use backstop::config::load::{self, Secrets};
use backstop::config::{Timing, agent, policy, raw};
use schemars::{Schema, schema_for};
use serde_json::Value;

/// Folders that hold no page of ours.
const NOT_OURS: [&str; 3] = ["target", ".git", "node_modules"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` that `wanted` takes, by its path from the root.
fn files(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !NOT_OURS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if wanted(&name) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|it| it == extension)
}

/// The text between single backticks, one per span.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Rows of a page's tables, as cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

#[test]
fn every_example_loads() {
    let mains = files("docs/examples", |name| name == "backstop.yaml");
    assert!(mains.len() >= 2, "{mains:?}");
    let mut known: BTreeSet<PathBuf> = mains.iter().cloned().collect();
    for main in &mains {
        let config = load::load(Some(&root().join(main)), Secrets::Unread)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", main.display()));
        let folder = main.parent().unwrap();
        for below in ["channels", "rules/policy", "rules/tests"] {
            if root().join(folder).join(below).is_dir() {
                known.extend(files(&folder.join(below).display().to_string(), |_| true));
            }
        }
        assert!(!config.channels.is_empty(), "{}", main.display());
    }
    for web in files("docs/examples", |name| name == "web-config.yaml") {
        load::load_web_config(&root().join(&web))
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", web.display()));
        known.insert(web);
    }
    let all: BTreeSet<PathBuf> = files("docs/examples", |_| true).into_iter().collect();
    assert_eq!(all, known, "an example that nothing loads");
}

#[test]
fn the_first_example_passes_the_check_without_a_warning() {
    let example = root().join("docs/examples/minimal/backstop.yaml");
    let ran = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["check", "--deny-warnings", "--config.file"])
        .arg(example)
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.ends_with("1 channel; 0 warnings\n"), "{said}");
}

#[test]
fn the_rule_tests_of_the_examples_pass() {
    let tests = files("docs/examples", |name| name == "checkout.yaml");
    let tests = tests
        .iter()
        .filter(|path| path.parent().unwrap().ends_with("rules/tests"));
    let mut ran_any = false;
    for test in tests {
        let main = test.ancestors().nth(3).unwrap().join("backstop.yaml");
        let ran = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(["test", "--config.file"])
            .arg(root().join(main))
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(0), "{said}");
        ran_any = true;
    }
    assert!(ran_any);
}

#[test]
fn what_a_readme_shows_of_an_example_is_the_example() {
    for page in ["README.md", "README.zh-CN.md"] {
        let text = read(page);
        let mut shown = 0;
        for after in text.split("<!-- example: ").skip(1) {
            let (path, rest) = after.split_once(" -->\n```yaml\n").unwrap();
            let (fence, _) = rest.split_once("```").unwrap();
            assert!(fence == read(path), "{page} shows another {path}");
            shown += 1;
        }
        assert_eq!(shown, 2, "{page}");
    }
}

/// Targets of a page's links that are files of ours, with the line they stand in.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for after in line.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number + 1, target.to_owned()));
            }
        }
    }
    found
}

/// The anchor a heading gets: lower case, spaces to dashes, other marks gone.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leaves", path.display()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[test]
fn every_relative_link_leads_to_something() {
    let pages = files(".", |name| has_extension(name, "md"));
    assert!(pages.len() > 20, "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        for (line, target) in links(&read(page)) {
            let (file, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                page.clone()
            } else {
                without_dots(&page.parent().unwrap().join(file))
            };
            let there = root().join(&path).exists();
            let named = fragment.is_empty()
                || (there
                    && read(&path)
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == fragment));
            if !there || !named {
                broken.push(format!("{}:{line}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_reference_of_the_command_line_names_every_verb_that_pages_use() {
    let reference = read("docs/reference/cli.md");
    let verbs: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("## backstop "))
        .collect();
    assert!(verbs.contains("serve") && verbs.contains("rollback apply"));
    let heads: BTreeSet<&str> = verbs
        .iter()
        .filter_map(|verb| verb.split(' ').next())
        .collect();
    for page in files("docs", |name| has_extension(name, "md")) {
        let text = read(&page);
        for line in text.lines().filter(|line| line.starts_with("backstop ")) {
            let verb = line.split(' ').nth(1).unwrap();
            assert!(heads.contains(verb), "{}: {line}", page.display());
        }
    }
}

/// Every name of a property in a schema, wherever it stands.
fn properties(schema: &Schema) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::Object(names)) = fields.get("properties") {
                    found.extend(names.keys().cloned());
                }
                fields.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(schema.as_value(), &mut found);
    found
}

/// The last parts of all keys in the first column of a page's tables.
fn keys_of(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let cells = rows(&text).filter_map(|row| row.first().map(|cell| (*cell).to_owned()));
    let mut keys = BTreeSet::new();
    for cell in cells {
        for key in code_spans(&cell) {
            keys.extend(key.split('.').map(|part| part.replace("[]", "")));
        }
    }
    keys
}

#[test]
fn every_key_of_the_configuration_has_its_row() {
    let pages = [
        (
            schema_for!(raw::RawConfig),
            "docs/reference/configuration.md",
        ),
        (
            schema_for!(raw::RawChannel),
            "docs/reference/configuration.md",
        ),
        (
            schema_for!(raw::RawWebConfig),
            "docs/reference/configuration.md",
        ),
        (
            schema_for!(agent::RawAgent),
            "docs/reference/configuration.md",
        ),
        (policy::schema(), "docs/reference/rules.md"),
    ];
    for (schema, page) in pages {
        let known = properties(&schema);
        assert!(known.len() > 2, "{page}: {known:?}");
        let told = keys_of(page);
        // How a secret is written is told above the tables.
        let missing: Vec<&String> = known
            .iter()
            .filter(|key| !told.contains(*key) && !["env", "file"].contains(&key.as_str()))
            .collect();
        assert!(missing.is_empty(), "{page} lacks {missing:?}");
    }
}

#[test]
fn every_time_has_its_default() {
    let page = read("docs/reference/configuration.md");
    // `name: 8s,` for each field.
    let defaults = format!("{:#?}", Timing::default());
    let mut compared = 0;
    for line in defaults.lines() {
        let Some((name, value)) = line.trim().trim_end_matches(',').split_once(": ") else {
            continue;
        };
        let key = format!("`timing.{name}`");
        let row = rows(&page).find(|row| row[0] == key);
        let row = row.unwrap_or_else(|| panic!("there is no row for {key}"));
        let time = |text: &str| humantime::parse_duration(text).unwrap();
        assert_eq!(time(row[1]), time(value), "{key}");
        compared += 1;
    }
    assert!(compared > 15, "{defaults}");
}

#[test]
fn the_table_of_metrics_is_the_one_of_the_program() {
    let source = read("src/telemetry/metrics.rs");
    let registered = regex::Regex::new(
        r#"\.register(?P<unit>_with_unit)?\(\s*"(?P<name>[a-z_]+)",\s*"[^"]+",\s*(?:Unit::(?P<of>\w+),\s*)?m?\.?(?P<value>[a-z_]+)"#,
    )
    .unwrap();
    let mut known = BTreeSet::new();
    for found in registered.captures_iter(&source) {
        let field = &found["value"];
        let declared = source
            .lines()
            .find(|line| {
                let line = line.trim().trim_start_matches("pub ");
                line.starts_with(&format!("{field}: "))
                    || line.starts_with(&format!("let {field}: "))
            })
            .unwrap_or_else(|| panic!("`{field}` is declared nowhere"));
        let kind = ["Counter", "Histogram", "Gauge"]
            .into_iter()
            .find(|kind| declared.contains(kind))
            .unwrap()
            .to_lowercase();
        let unit = found.name("of").map_or(String::new(), |unit| {
            format!("_{}", unit.as_str().to_lowercase())
        });
        let total = if kind == "counter" { "_total" } else { "" };
        known.insert((format!("backstop_{}{unit}{total}", &found["name"]), kind));
    }
    assert_eq!(
        known.len(),
        source.matches("r.register").count(),
        "{known:?}"
    );
    let page = read("docs/reference/metrics.md");
    let told: BTreeSet<(String, String)> = rows(&page)
        .filter(|row| row[0].starts_with("`backstop_"))
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned()))
        .collect();
    assert_eq!(told, known);
}

#[test]
fn the_table_of_guards_is_whole_and_in_order_and_names_every_code() {
    use backstop::domain::decision::{Code, Guard};
    let page = read("docs/reference/rules.md");
    let guards: Vec<&str> = rows(&page)
        .skip_while(|row| row[0] != "guard")
        .skip(1)
        .take_while(|row| row[0].starts_with('`'))
        .map(|row| row[0].trim_matches('`'))
        .collect();
    assert_eq!(guards, Guard::ALL.map(Guard::as_str));
    let told: BTreeSet<&str> = page.lines().flat_map(code_spans).collect();
    for code in Code::ALL {
        assert!(told.contains(code.as_str()), "`{}`", code.as_str());
    }
}

#[test]
fn the_runbook_names_log_lines_that_exist() {
    let mut source = String::new();
    for file in files("src", |name| has_extension(name, "rs")) {
        source.push_str(&read(file));
    }
    let page = read("docs/runbook.md");
    let headings: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("### "))
        .collect();
    assert!(headings.len() > 20);
    for heading in headings {
        for line in code_spans(heading) {
            for piece in line
                .split('…')
                .map(str::trim)
                .filter(|piece| piece.len() > 3)
            {
                assert!(source.contains(piece), "nothing says `{piece}` of `{line}`");
            }
        }
    }
}

#[test]
fn the_map_names_every_room() {
    let map = read("ARCHITECTURE.md");
    let rooms: BTreeSet<String> = rows(&map)
        .flat_map(|row| code_spans(row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !path.is_dir() || rooms.contains(&name),
            "the map lacks `{name}`"
        );
    }
}

/// What the files of a room import of ours, comments left out.
fn imports_of(room: &str) -> BTreeSet<String> {
    let ours = regex::Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    let mut found = BTreeSet::new();
    for file in files(&format!("src/{room}"), |name| has_extension(name, "rs")) {
        let source = read(file);
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            found.extend(ours.captures_iter(line).map(|found| found[1].to_owned()));
        }
    }
    found.remove(room);
    found
}

#[test]
fn the_rooms_import_what_the_map_allows() {
    let map = read("ARCHITECTURE.md");
    let stages = [
        "ingest", "enrich", "decide", "act", "notify", "report", "web", "sync",
    ];
    let mut compared = 0;
    for row in rows(&map).filter(|row| row.len() == 3) {
        let Some(room) = code_spans(row[0]).next() else {
            continue;
        };
        let mut allowed: BTreeSet<String> = code_spans(row[2]).map(str::to_owned).collect();
        if row[2] == "all" {
            continue;
        }
        if row[2] != "nothing at all" {
            allowed.insert("domain".to_owned());
        }
        let imports = imports_of(room);
        let beyond: Vec<&String> = imports.difference(&allowed).collect();
        assert!(beyond.is_empty(), "`{room}` imports {beyond:?}");
        assert!(
            !stages.contains(&room) || stages.iter().all(|stage| !allowed.contains(*stage)),
            "the map lets stage `{room}` import another"
        );
        compared += 1;
    }
    assert!(compared > 15, "{compared} rooms");
}

#[test]
fn the_api_reference_has_every_route() {
    let page = read("docs/reference/api.md");
    let routes = files("src/web/routes", |name| has_extension(name, "rs"));
    // It compares routes with the OpenAPI document, and has none.
    for file in routes.iter().filter(|file| !file.ends_with("openapi.rs")) {
        let source = read(file);
        for after in source.split(".route(").skip(1) {
            let Some(path) = after.trim_start().strip_prefix('"') else {
                continue;
            };
            let path = path.split('"').next().unwrap();
            // Lists share a row; the report's files and the chart are written out.
            let last = path.strip_prefix("/api/v1").unwrap_or(path);
            let told = page.contains(&format!("`{path}`"))
                || page.contains(&format!(" {path}`"))
                || page.contains(&format!("`{last}`"))
                || ["/incidents/{id}/{report}", "/charts/{signed}", "/style.css"].contains(&path);
            assert!(told, "{}: `{path}` is not in the reference", file.display());
        }
    }
}

#[test]
fn every_test_that_the_channels_page_names_exists() {
    let sources = ["src", "tests"].map(|folder| files(folder, |name| has_extension(name, "rs")));
    let sources: String = sources.iter().flatten().map(read).collect();
    let page = read("docs/reference/channels-compared.md");
    let rows: Vec<Vec<&str>> = rows(&page).skip(1).collect();
    assert!(rows.len() >= 17, "{}", rows.len());
    for row in rows {
        let tests: Vec<&str> = code_spans(row[2]).collect();
        assert!(!tests.is_empty(), "nothing proves {}", row[0]);
        for test in tests {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "there is no test {test}"
            );
        }
    }
}
