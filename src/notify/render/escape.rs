//! Foreign text as each channel's plain text.
//!
//! Slack and HTML have escapes of their own. WeCom's and DingTalk's markdown document none, so
//! their control characters become look-alikes of the same meaning to a reader (`<` is `＜`).
//! Input is one line (see [`super::value::line`]); output never mentions, links, opens a tag or
//! ends one.

use std::io::Write;

/// How a channel reads text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Slack's mrkdwn.
    Slack,
    /// WeCom's markdown.
    WeCom,
    /// DingTalk's markdown.
    DingTalk,
    /// An HTML body.
    Html,
    /// A plain text body.
    Plain,
}

/// `text` so that the dialect shows it literally.
pub fn escape(dialect: Dialect, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    match dialect {
        Dialect::Plain => out.push_str(text),
        Dialect::Html => text.chars().for_each(|c| push_html(&mut out, c)),
        Dialect::Slack => literal(text, &mut out, push_entity),
        Dialect::WeCom | Dialect::DingTalk => literal(text, &mut out, push_look_alike),
    }
    out
}

/// `text` for inside a code span: nothing is markup there but the end of the span.
pub fn escape_code(dialect: Dialect, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match (dialect, c) {
            (Dialect::Plain, c) => out.push(c),
            (Dialect::Html, c) => push_html(&mut out, c),
            (_, '`') => out.push('ˋ'),
            (Dialect::Slack, c) => push_entity(&mut out, c),
            // Whether these clients look for tags inside code is not written down.
            (_, '<') => out.push('＜'),
            (_, '>') => out.push('＞'),
            (_, '[') => out.push('［'),
            (_, ']') => out.push('］'),
            (_, c) => out.push(c),
        }
    }
    defang(&out, dialect)
}

/// The escape function tera calls for every `{{ value }}`.
pub fn tera_escape(dialect: Dialect) -> tera::EscapeFn {
    fn write(dialect: Dialect, text: &str, to: &mut dyn Write) -> std::io::Result<()> {
        to.write_all(escape(dialect, text).as_bytes())
    }
    match dialect {
        Dialect::Slack => |text, to| write(Dialect::Slack, text, to),
        Dialect::WeCom => |text, to| write(Dialect::WeCom, text, to),
        Dialect::DingTalk => |text, to| write(Dialect::DingTalk, text, to),
        Dialect::Html => |text, to| write(Dialect::Html, text, to),
        Dialect::Plain => |text, to| write(Dialect::Plain, text, to),
    }
}

fn push_html(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

/// Slack's own rule: these three, and only as entities.
fn push_entity(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

fn push_look_alike(out: &mut String, c: char) {
    out.push(match c {
        '<' => '＜',
        '>' => '＞',
        '[' => '［',
        ']' => '］',
        '&' => '＆',
        '\\' => '＼',
        '|' => '｜',
        c => c,
    });
}

/// Formatting marks that the three chat dialects share become look-alikes: none of them has a
/// documented escape for these.
fn literal(text: &str, out: &mut String, push: fn(&mut String, char)) {
    let text = defang(text, Dialect::Slack);
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let inside_a_word = before.is_some_and(char::is_alphanumeric)
            && rest.peek().is_some_and(|c| c.is_alphanumeric());
        match c {
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '`' => out.push('ˋ'),
            '_' if !inside_a_word => out.push('＿'),
            '#' if before.is_none() => out.push('＃'),
            '-' | '+' if before.is_none() && rest.peek() == Some(&' ') => {
                out.push(if c == '-' { '－' } else { '＋' });
            }
            ':' if before.is_none_or(|c| !c.is_alphanumeric()) && starts_emoji(rest.clone()) => {
                out.push('꞉');
            }
            c => push(out, c),
        }
        before = Some(c);
    }
}

/// Whether what follows a colon is an emoji's name and a second colon, as in `:fire:`.
fn starts_emoji(rest: impl Iterator<Item = char>) -> bool {
    let mut letters = 0;
    for c in rest {
        match c {
            ':' => return letters > 0,
            'a'..='z' => letters += 1,
            '0'..='9' | '_' | '+' | '-' | '\'' => {}
            _ => return false,
        }
    }
    false
}

/// Addresses in foreign text are inert: clients turn `http://…` into a link by themselves, so a
/// zero-width space parts scheme and host.
fn defang(text: &str, dialect: Dialect) -> String {
    if matches!(dialect, Dialect::Html | Dialect::Plain) {
        return text.to_owned();
    }
    text.replace("://", ":\u{200b}//")
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::render::value::line;

    /// What a reader sees: look-alikes and entities back to what they stand for.
    pub(crate) fn seen(text: &str) -> String {
        let mut text = text.replace('\u{200b}', "");
        for (shown, meant) in [
            ("∗", "*"),
            ("∼", "~"),
            ("ˋ", "`"),
            ("＿", "_"),
            ("＃", "#"),
            ("－", "-"),
            ("＋", "+"),
            ("꞉", ":"),
            ("＜", "<"),
            ("＞", ">"),
            ("［", "["),
            ("］", "]"),
            ("＆", "&"),
            ("＼", "\\"),
            ("｜", "|"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&amp;", "&"),
        ] {
            text = text.replace(shown, meant);
        }
        text
    }

    #[test]
    fn each_dialect_has_its_own_literal_form() {
        let nasty = "<!channel> & [x](http://e.com) *b* a_b `c` </font>";
        assert_eq!(
            escape(Dialect::Slack, nasty),
            "&lt;!channel&gt; &amp; [x](http:\u{200b}//e.com) ∗b∗ a_b ˋcˋ &lt;/font&gt;"
        );
        assert_eq!(
            escape(Dialect::WeCom, nasty),
            "＜!channel＞ ＆ ［x］(http:\u{200b}//e.com) ∗b∗ a_b ˋcˋ ＜/font＞"
        );
        assert_eq!(
            escape(Dialect::Html, "<a href='x'>\"&"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;"
        );
        assert_eq!(
            escape(Dialect::Slack, ":fire: h:9100: _x_"),
            "꞉fire: h:9100: ＿x＿"
        );
        assert_eq!(escape(Dialect::WeCom, "# head"), "＃ head");
        assert_eq!(escape_code(Dialect::Slack, "a*b < `c`"), "a*b &lt; ˋcˋ");
    }

    proptest! {
        #[test]
        fn no_text_keeps_a_control_character_of_its_dialect(text in "[ -~\\PC]{0,80}") {
            let text = line(&text);
            let slack = escape(Dialect::Slack, &text);
            prop_assert!(!slack.contains(['<', '>', '*', '`', '~']));
            prop_assert_eq!(slack.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").matches('&').count(), 0);
            for dialect in [Dialect::WeCom, Dialect::DingTalk] {
                let out = escape(dialect, &text);
                prop_assert!(!out.contains(['<', '>', '[', ']', '*', '`', '~']), "{}", out);
                prop_assert!(!out.starts_with('#'));
                prop_assert!(!out.contains("://"));
                prop_assert!(!escape_code(dialect, &text).contains(['`', '<', '>', '[', ']']));
            }
            prop_assert!(!escape(Dialect::Html, &text).contains(['<', '>', '"', '\'']));
        }

        #[test]
        fn a_reader_sees_what_was_written(text in "[ -~]{0,80}") {
            let text = line(&text);
            for dialect in [Dialect::Slack, Dialect::WeCom, Dialect::DingTalk, Dialect::Html] {
                // An entity that was typed is text too: fold it on both sides.
                prop_assert_eq!(seen(&seen(&escape(dialect, &text))), seen(&seen(&text)));
            }
        }
    }
}
