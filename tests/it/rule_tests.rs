//! The shipped rule tests, and that they can fail: played through the gateway's own judging.

use std::collections::BTreeSet;
use std::path::Path;

use backstop::config::Config;
use backstop::config::load::{self, Secrets};
use backstop::domain::decision::Guard;
use backstop::rehearsal::{self, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every file of `rules/tests/`, with its text.
fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/tests");
    let files = load::read_folder(&folder).unwrap();
    assert!(files.len() >= 4, "{files:?}");
    files
}

fn config() -> Config {
    load::load(None, Secrets::Unread).unwrap()
}

async fn play(file: &str, text: &str) -> Vec<Outcome> {
    let tests = rehearsal::read(file, text, &config());
    let tests = tests.unwrap_or_else(|problems| panic!("{file}: {}\n{text}", problems[0]));
    let mut outcomes = Vec::new();
    for test in tests {
        outcomes.push(rehearsal::play(&test).await);
    }
    outcomes
}

/// A file as a value; JSON is YAML, so a changed one is read like the original.
fn value(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The expectations of a test, as pointers into the file.
fn expectations(file: &Value) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (t, test) in file["tests"].as_array().unwrap().iter().enumerate() {
        for (m, moment) in test["decision_test"].as_array().unwrap().iter().enumerate() {
            let expected = moment["exp_decisions"].as_array().unwrap();
            for (e, _) in expected.iter().enumerate() {
                let place = format!("/tests/{t}/decision_test/{m}/exp_decisions/{e}");
                found.push((t, place));
            }
        }
    }
    found
}

#[tokio::test]
async fn the_shipped_tests_pass() {
    let mut failed = Vec::new();
    for (file, text) in shipped() {
        for outcome in play(&file, &text).await {
            failed.extend(outcome.failures.iter().map(ToString::to_string));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_guard_is_the_first_obstacle_of_some_shipped_test() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (_, text) in shipped() {
        let file = value(&text);
        for (_, place) in expectations(&file) {
            let obstacle = &file.pointer(&place).unwrap()["obstacle"];
            seen.extend(obstacle.as_str().map(str::to_owned));
        }
    }
    let missing: Vec<&str> = Guard::ALL
        .into_iter()
        .map(Guard::as_str)
        .filter(|guard| !seen.contains(*guard))
        .collect();
    assert!(missing.is_empty(), "no shipped test for {missing:?}");
}

/// Another value of the same kind.
fn flipped(field: &str, old: &Value) -> Value {
    match (field, old) {
        ("verdict", Value::String(word)) if word == "hold" => json!("notify"),
        ("verdict", _) => json!("hold"),
        ("obstacle", Value::String(word)) if word == "lane" => json!("none"),
        ("obstacle", _) => json!("lane"),
        ("mode", Value::String(word)) if word == "shadow" => json!("approve"),
        ("mode", _) => json!("shadow"),
        ("phase", Value::String(word)) if word == "full" => json!("canary"),
        ("scope", Value::String(word)) if word == "full" => json!("batch 7"),
        ("phase" | "scope", _) => json!("full"),
        ("code", Value::String(word)) if word == "too_young" => json!("off"),
        ("code", _) => json!("too_young"),
        ("decided", _) => json!("77m"),
        (_, Value::Bool(flag)) => json!(!flag),
        (_, Value::Array(_)) => json!(["somebody-else"]),
        _ => json!("something-else"),
    }
}

#[tokio::test]
async fn a_shipped_test_fails_when_any_field_it_expects_is_another() {
    let mut flips = 0;
    for (name, text) in shipped() {
        let file = value(&text);
        for (t, place) in expectations(&file) {
            let fields = file.pointer(&place).unwrap().as_object().unwrap().clone();
            for (field, old) in fields {
                let mut changed = file.clone();
                changed["tests"] = json!([file["tests"][t]]);
                let place = place.replacen(&format!("/tests/{t}/"), "/tests/0/", 1);
                changed.pointer_mut(&place).unwrap()[&field] = flipped(&field, &old);
                let outcomes = play(&name, &changed.to_string()).await;
                let told = outcomes[0]
                    .failures
                    .iter()
                    .any(|failure| failure.differences.iter().any(|one| one.field == field));
                assert!(told, "{name} {place} {field}: {outcomes:#?}");
                flips += 1;
            }
        }
        for (t, test) in file["tests"].as_array().unwrap().iter().enumerate() {
            // One expectation too few: what stands must be expected.
            let mut changed = file.clone();
            changed["tests"] = json!([test]);
            for moment in changed["tests"][0]["decision_test"].as_array_mut().unwrap() {
                moment["exp_decisions"] = match moment["exp_decisions"].as_array().unwrap().len() {
                    0 => json!([{}]),
                    _ => json!([]),
                };
            }
            let outcomes = play(&name, &changed.to_string()).await;
            assert!(!outcomes[0].passed(), "{name} test {t}");
        }
    }
    assert!(flips > 100, "only {flips} fields were flipped");
}

#[tokio::test]
async fn what_is_asked_and_not_written_down_fails_the_test() {
    let (name, text) = shipped()
        .into_iter()
        .find(|(name, _)| name.ends_with("evidence.yaml"))
        .unwrap();
    let mut file = value(&text);
    file["given"]["answers"] = json!([]);
    file["tests"] = json!([file["tests"][0]]);
    let outcomes = play(&name, &file.to_string()).await;
    let words: Vec<String> = outcomes[0]
        .failures
        .iter()
        .map(ToString::to_string)
        .collect();
    let words = words.join("\n");
    assert!(words.contains("has no `answers` for"), "{words}");
    assert!(words.contains("> 0.05"), "{words}");
}

/// The example of the how-to, played as a reader would.
#[tokio::test]
async fn the_example_of_the_how_to_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/howto/test-rules.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let example = blocks
        .find(|block| block.contains("decision_test"))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("rules/policy/checkout.yaml");
    std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
    std::fs::copy(root.join("rules/policy/default.yaml"), policy).unwrap();
    let file = folder.path().join("rules/tests/checkout.yaml");
    for outcome in play(&file.display().to_string(), example).await {
        assert!(outcome.passed(), "{outcome:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,400}") {
        // Only that it comes back counts.
        let _read = rehearsal::read("any.yaml", &text, &config());
    }

    #[test]
    fn no_change_of_a_real_file_makes_the_reader_panic(
        at in 0.0..1.0_f64,
        cut in 0_usize..40,
        put in "[-\\[\\]{}:,'\"&*#|>!%@` \n0-9a-zA-Z]{0,12}",
    ) {
        for (name, text) in shipped() {
            let mut chars: Vec<char> = text.chars().collect();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short file")]
            let start = (at * chars.len() as f64) as usize;
            let end = (start + cut).min(chars.len());
            chars.splice(start..end, put.chars());
            let text: String = chars.into_iter().collect();
            if let Err(problems) = rehearsal::read(&name, &text, &config()) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
