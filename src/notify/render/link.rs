//! Links that lead where they say, or none.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use super::escape::{Dialect, escape};

/// Longest address that is put into a message; Slack takes 3,000, WeCom's whole text is 4,096.
const MAX_URL: usize = 1024;

/// What could end a link, a tag or an attribute in some dialect. (An IPv6 literal's brackets too:
/// such an address no longer leads anywhere.)
const ENDS_MARKUP: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'(')
    .add(b')')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'|')
    .add(b'"')
    .add(b'\'')
    .add(b'`')
    .add(b'*')
    .add(b'\\')
    .add(b'^')
    .add(b'{')
    .add(b'}');

/// `words` leading to `url` in the dialect's markup. An address that is not plain http(s) stays
/// text and leads nowhere.
pub fn link(dialect: Dialect, words: &str, url: &str) -> String {
    let text = escape(dialect, words);
    match safe(url) {
        Some(url) => match dialect {
            Dialect::Slack => format!("<{}|{text}>", url.replace('&', "&amp;")),
            Dialect::WeCom | Dialect::DingTalk => format!("[{text}]({url})"),
            Dialect::Html => format!("<a href=\"{}\">{text}</a>", url.replace('&', "&amp;")),
            Dialect::Plain => format!("{text}: {url}"),
        },
        None => format!("{text}: {}", escape(dialect, &super::value::line(url))),
    }
}

/// DingTalk's image: the client fetches it.
pub fn image(url: &str) -> Option<String> {
    safe(url).map(|url| format!("![]({url})"))
}

/// `url` as http(s) without credentials, and without a character that ends markup.
fn safe(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return None;
    }
    let out = utf8_percent_encode(url.as_str(), ENDS_MARKUP).to_string();
    (out.len() <= MAX_URL).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_address_becomes_a_link() {
        let url = "https://backstop.example.com/incidents/a@prod-1?x=1&y=(2)";
        assert_eq!(
            link(Dialect::Slack, "the <incident>", url),
            "<https://backstop.example.com/incidents/a@prod-1?x=1&amp;y=%282%29|the &lt;incident&gt;>"
        );
        assert_eq!(
            link(Dialect::WeCom, "incident", url),
            "[incident](https://backstop.example.com/incidents/a@prod-1?x=1&y=%282%29)"
        );
        assert_eq!(
            link(Dialect::Html, "incident", url),
            "<a href=\"https://backstop.example.com/incidents/a@prod-1?x=1&amp;y=%282%29\">incident</a>"
        );
    }

    #[test]
    fn tricks_lead_nowhere() {
        for url in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,<script>1</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "https://bank.example@evil.example/",
            "https://u:p@evil.example/",
            "//evil.example/x",
            "/relative",
            "https://",
            "ftp://x/y",
            "tel:112",
            "slack://open",
            "",
        ] {
            for dialect in [
                Dialect::Slack,
                Dialect::WeCom,
                Dialect::DingTalk,
                Dialect::Html,
            ] {
                let out = link(dialect, "x", url);
                assert!(
                    !out.contains("](") && !out.contains("href=") && !out.contains('<'),
                    "{out}"
                );
                assert!(!out.contains("://") || dialect == Dialect::Html, "{out}");
            }
            assert_eq!(image(url), None);
        }
    }

    #[test]
    fn an_address_cannot_end_its_markup() {
        for url in [
            "https://e.com/a)[x](http://evil",
            "https://e.com/a|b>c",
            "https://e.com/\"onmouseover=\"x",
            "https://e.com/\r\nBcc: x",
            "https://e.com/ a",
            "https://b\u{fc}cher.example/",
        ] {
            assert_eq!(
                link(Dialect::WeCom, "x", url).matches([')', ']']).count(),
                2
            );
            assert_eq!(
                link(Dialect::Slack, "x", url).matches(['>', '|']).count(),
                2
            );
            assert_eq!(link(Dialect::Html, "x", url).matches('"').count(), 2);
            assert!(!link(Dialect::Plain, "x", url).contains(['\r', '\n']));
        }
    }
}
