//! Takes secrets out of text that other programs wrote.
//!
//! Logs of deploy scripts repeat headers, flags and environment variables. What looks like a
//! secret becomes `***`; a word too many is lost rather than a password kept. Redacting twice
//! changes nothing more.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands where a secret stood.
pub(super) const GONE: &str = "***";

/// Words that name secrets, with what may stand around them in a variable's name.
const SECRET_NAME: &str = r"[\w.-]*(?:token|passwo?r?d|passwd|\bpwd|_pwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key|credential|signature|cookie)(?:[_-]?(?:id|key|value|hash))?s?";

type Replace = fn(&Captures<'_>) -> String;

/// A pattern and what replaces a match; group 1 is what stays in front, group 2 the secret.
struct Pattern {
    regex: Regex,
    replace: Replace,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let value = r#"(\\?"(?:[^"\\]|\\[^"])+\\?"|'[^']+'|\\?["']?[^\s"'&<>=~\\][^\s"'&<>]*)"#;
    let patterns: [(String, Replace); 10] = [
        (
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)".to_owned(),
            all,
        ),
        (
            r#"(?i)((?:authorization|set-cookie|cookie)\\?["']?\s*[:=]\s*\\?["']?)([^"'\\\r\n]+)"#.to_owned(),
            after_head,
        ),
        (
            r"(?i)(\b(?:bearer|basic|digest)\s+)([A-Za-z0-9._~+/-]{8,}=*)".to_owned(),
            if_random,
        ),
        (
            format!(r#"(?i)(\b{SECRET_NAME}\\?["']?\s*[:=]\s*){value}"#),
            after_head,
        ),
        (
            format!(r"(?i)(--?{SECRET_NAME}\s+){value}"),
            after_head,
        ),
        (r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@]+@".to_owned(), userinfo),
        // What a bot's or a presigned address carries, however short.
        (
            r#"(?i)([?&](?:key|sig|[\w.-]*(?:token|signature|secret|credential))=)([^\s&"'<>\\]+)"#.to_owned(),
            after_head,
        ),
        // Incoming webhooks whose address is the secret: Slack, Discord, Teams.
        (
            r#"(?i)(\b(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks|[a-z0-9.-]+\.office\.com/webhookb2)/)([^\s"'<>\\]+)"#.to_owned(),
            after_head,
        ),
        (
            r"\b(?:(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|xox[a-z]-[A-Za-z0-9-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)".to_owned(),
            all,
        ),
        (
            r#"(?i)(\b(?:key|token|secret|password|credential|sig|signature)s?\b[\s:=("']{1,4})([A-Za-z0-9+/_-]{20,}=*)"#.to_owned(),
            if_random,
        ),
    ];
    patterns
        .into_iter()
        .filter_map(|(pattern, replace)| {
            Some(Pattern {
                regex: Regex::new(&pattern).ok()?,
                replace,
            })
        })
        .collect()
});

static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!("(?i)^{SECRET_NAME}$")).ok());

fn all(_: &Captures<'_>) -> String {
    GONE.to_owned()
}

fn after_head(found: &Captures<'_>) -> String {
    // What is gone already takes no more with it.
    if group(found, 2).starts_with(GONE) {
        return group(found, 0).to_owned();
    }
    format!("{}{GONE}", group(found, 1))
}

fn userinfo(found: &Captures<'_>) -> String {
    format!("{}{GONE}@", group(found, 1))
}

/// Prose goes on after such a word too ("basic authentication"): only what no word looks like
/// is a secret.
fn if_random(found: &Captures<'_>) -> String {
    let value = group(found, 2);
    let mut rest = value.chars().skip(1);
    let random = value.ends_with('=')
        || value.contains(|c: char| c.is_ascii_digit())
        || (rest.any(|c| c.is_ascii_uppercase())
            && value.contains(|c: char| c.is_ascii_lowercase()));
    if random {
        after_head(found)
    } else {
        group(found, 0).to_owned()
    }
}

fn group<'t>(found: &Captures<'t>, n: usize) -> &'t str {
    found.get(n).map_or("", |part| part.as_str())
}

/// `text` without what looks like a secret.
pub(super) fn redact(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for pattern in PATTERNS.iter() {
        if pattern.regex.is_match(&text) {
            let replaced = pattern.regex.replace_all(&text, pattern.replace);
            text = Cow::Owned(replaced.into_owned());
        }
    }
    text
}

/// Whether a label or variable of this name holds a secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    NAME.as_ref().is_some_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), 10);
        assert!(NAME.is_some());
    }

    #[test]
    fn secrets_are_taken_out_and_their_names_stay() {
        for (text, want) in [
            ("Authorization: Bearer abc.def-123", "Authorization: ***"),
            (
                "curl -H 'Authorization: Basic dXNlcjpwYXNz' https://x/",
                "curl -H 'Authorization: ***' https://x/",
            ),
            (
                r#"{"Authorization":"token abc","ok":1}"#,
                r#"{"Authorization":"***","ok":1}"#,
            ),
            ("sent with bearer 0a1b2c3d4e5f", "sent with bearer ***"),
            ("GITHUB_TOKEN=abc make", "GITHUB_TOKEN=*** make"),
            (r#"password: "two words" next"#, "password: *** next"),
            (
                r#"{\"access_token\":\"abc\",\"n\":1}"#,
                r#"{\"access_token\":***,\"n\":1}"#,
            ),
            (
                "mysql --password hunter2 -h db",
                "mysql --password *** -h db",
            ),
            (
                "https://bot:hunter2@git.example.com/x",
                "https://***@git.example.com/x",
            ),
            (
                "https://s3/x?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026&X-Amz-Signature=0a0b&v=1",
                "https://s3/x?X-Amz-Credential=***&X-Amz-Signature=***&v=1",
            ),
            ("id AKIAIOSFODNN7EXAMPLE used", "id *** used"),
            (
                "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG",
                "AWS_SECRET_ACCESS_KEY=***",
            ),
            ("key: 5f4dcc3b5aa765d61d8327deb882cf99", "key: ***"),
            (
                "send?key=693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa",
                "send?key=***",
            ),
            ("ghp_0123456789abcdefghij0123 leaked", "*** leaked"),
            ("xoxb-1234567890-abcdef", "***"),
            ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.c2ln end", "jwt *** end"),
            (
                "posting to https://hooks.slack.com/services/T00/B00/x1Y2z3 now",
                "posting to https://hooks.slack.com/services/*** now",
            ),
            (
                r#"{"url":"https://discord.com/api/webhooks/1/abc","n":1}"#,
                r#"{"url":"https://discord.com/api/webhooks/***","n":1}"#,
            ),
            (
                "https://oapi.dingtalk.com/robot/send?access_token=0a1b2c&timestamp=1",
                "https://oapi.dingtalk.com/robot/send?access_token=***&timestamp=1",
            ),
            ("Cookie: a=1; b=2\nnext", "Cookie: ***\nnext"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
                "a\n***\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\ncut off", "***"),
        ] {
            assert_eq!(redact(text), want, "{text}");
            assert_eq!(redact(want), want, "again");
        }
    }

    #[test]
    fn what_an_engineer_needs_stays() {
        for text in [
            "sum(rate(http_requests_total{service=\"shop\",code=~\"5..\"}[2m])) > 0.05",
            "checksum 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "commit 1f0c2d3e4b5a69788796a5b4c3d2e1f001122334",
            "password authentication failed for user app",
            "basic authentication is required",
            "checkout@1.8.0 -> checkout@1.7.4 on h1:8080",
            "token_bucket_fill == 3",
            "https://gate.example.com/executions/01J0ABCDEF",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn labels_that_hold_secrets_are_known_by_name() {
        for name in ["token", "api_key", "DB_PASSWORD", "client-secret"] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in ["service", "instance", "alertname", "le", "tokenizer"] {
            assert!(!names_a_secret(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_secret_by_its_shape_never_survives(
            before in "[ -~]{0,20}",
            secret in r"(eyJ[A-Za-z0-9_-]{10,30}\.[A-Za-z0-9_-]{10,40}\.[A-Za-z0-9_-]{10,40}|gh[ps]_[A-Za-z0-9]{36}|xoxb-[0-9]{11}-[A-Za-z0-9]{24}|AKIA[A-Z0-9]{16})",
            after in "( [ -~]{0,20})?",
        ) {
            // A letter right before it makes it part of a longer word.
            let text = format!("{before} {secret}{after}");
            let out = redact(&text).into_owned();
            prop_assert!(!out.contains(&secret), "{out}");
            prop_assert_eq!(redact(&out), out.as_str(), "again");
        }

        #[test]
        fn the_secret_part_of_an_address_never_survives(
            (head, tail) in prop_oneof![
                Just(("https://hooks.slack.com/services/T00/B00/", "")),
                Just(("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", "")),
                Just(("https://oapi.dingtalk.com/robot/send?access_token=", "&timestamp=1")),
                Just(("https://bot:", "@git.example.com/shop.git")),
                Just(("postgres://app:", "@db:5432/shop")),
                Just(("https://s3.example.com/b/k?X-Amz-Signature=", "&x=1")),
            ],
            secret in "[A-Za-z0-9_.~-]{8,40}",
        ) {
            let text = format!("calling {head}{secret}{tail} failed");
            let out = redact(&text).into_owned();
            prop_assert!(!out.contains(&secret), "{out}");
            prop_assert!(out.starts_with("calling ") && out.ends_with(" failed"), "{out}");
            prop_assert_eq!(redact(&out), out.as_str(), "again");
        }

        #[test]
        fn a_private_key_never_survives(
            kind in "(RSA |EC |OPENSSH |ENCRYPTED |)",
            lines in prop::collection::vec("[A-Za-z0-9+/]{64}", 1..4),
            ended in any::<bool>(),
        ) {
            let body = lines.join("\n");
            let end = if ended { format!("\n-----END {kind}PRIVATE KEY-----\nafter") } else { String::new() };
            let text = format!("before\n-----BEGIN {kind}PRIVATE KEY-----\n{body}{end}");
            let out = redact(&text).into_owned();
            prop_assert!(lines.iter().all(|line| !out.contains(line)), "{out}");
            prop_assert!(out.starts_with("before\n") && (!ended || out.ends_with("\nafter")), "{out}");
        }

        #[test]
        fn a_password_never_survives_its_name(
            name in "(password|DB_PASSWORD|token|secret|api_key|apikey)",
            sep in "(=|: |\": \"|:)",
            value in "[A-Za-z0-9!#$%*+./?@^_-]{6,20}",
        ) {
            prop_assume!(!value.starts_with(GONE));
            let text = format!("before {name}{sep}{value} after");
            let out = redact(&text).into_owned();
            prop_assert!(!out.contains(&value), "{out}");
            prop_assert!(out.contains("before ") && out.contains(&name));
            prop_assert_eq!(redact(&out), out.as_str());
        }
    }
}
