//! Every crate in the locked tree may be handed on, and there is one TLS stack.
//!
//! `deny.toml` says what is allowed; this reads its lists and asks cargo for the tree, offline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crates of which a second version would be a second TLS setup or connection pool.
const ONCE: [&str; 6] = [
    "rustls",
    "rustls-webpki",
    "aws-lc-rs",
    "tokio-rustls",
    "hyper",
    "reqwest",
];

struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// What is built for this machine: normal, build and test dependencies, features resolved.
fn tree() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--no-dedupe", "--format", "{p}\t{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {errors}");
    let lines: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines
        .iter()
        .map(|line| {
            let (package, licence) = line.split_once('\t').unwrap();
            let mut words = package.split(' ');
            Crate {
                name: words.next().unwrap().to_owned(),
                version: words.next().unwrap().to_owned(),
                licence: licence.to_owned(),
            }
        })
        .collect()
}

/// The strings of the array `key = [...]` of `deny.toml`, names of inline tables included.
fn denied_or_allowed(key: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let opening = format!("{key} = [\n");
    let (_, rest) = text.split_once(&opening).unwrap();
    let (body, _) = rest.split_once("\n]").unwrap();
    body.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences alone.
///
/// `AND` binds closer than `OR`; a `/` is how older crates write `OR`; `X WITH Y` is one licence.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ")
        .replace(" WITH ", "_WITH_");
    let mut tokens = spaced.split_whitespace().peekable();
    let met = any(&mut tokens, allowed);
    assert_eq!(tokens.next(), None, "left over in `{expression}`");
    met
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(tokens, allowed);
    while tokens.next_if_eq(&"OR").is_some() {
        met |= all(tokens, allowed);
    }
    met
}

fn all(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(tokens, allowed);
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, allowed);
    }
    met
}

fn one(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    // A crate that names no licence may not be handed on.
    let Some(token) = tokens.next() else {
        return false;
    };
    if token == "(" {
        let met = any(tokens, allowed);
        assert_eq!(tokens.next(), Some(")"), "a parenthesis stays open");
        return met;
    }
    allowed.contains(&token.replace("_WITH_", " WITH "))
}

#[test]
fn every_crate_may_be_handed_on() {
    let allowed = denied_or_allowed("allow");
    let refused: Vec<String> = tree()
        .iter()
        .filter(|found| !is_met(&found.licence, &allowed))
        .map(|found| format!("{} {}: `{}`", found.name, found.version, found.licence))
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn no_banned_crate_is_built_and_the_tls_stack_exists_once() {
    let tree = tree();
    assert!(tree.len() > 100, "only {} crates listed", tree.len());
    let banned = denied_or_allowed("deny");
    assert!(banned.contains("ring") && banned.contains("openssl-sys"));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for found in &tree {
        assert!(!banned.contains(&found.name), "`{}` is banned", found.name);
        versions
            .entry(&found.name)
            .or_default()
            .insert(&found.version);
    }
    for name in ONCE {
        let found = versions.get(name).map_or(0, BTreeSet::len);
        assert_eq!(found, 1, "versions of `{name}`: {:?}", versions.get(name));
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    let allowed: BTreeSet<String> = allowed.into_iter().map(str::to_owned).collect();
    for (expression, met) in [
        ("MIT", true),
        ("", false),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("MIT OR GPL-3.0 AND AGPL-3.0", true),
        ("(MIT OR GPL-3.0) AND AGPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("Apache-2.0 WITH LLVM-exception AND GPL-3.0", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
