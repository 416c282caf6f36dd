//! A message as Slack's blocks, within the documented limits (docs.slack.dev, Block Kit).

use serde_json::{Value, json};

use crate::config::channel::SlackMention;
use crate::domain::notice::NoticeKind;
use crate::notify::render::bare;
use crate::notify::render::escape::{Dialect, escape};
use crate::notify::render::markup::stripped;
use crate::notify::render::page;
use crate::notify::render::split::{Unit, split};
use crate::notify::render::value::shorten;
use crate::notify::render::view::View;

/// Longest text of a section.
const MAX_SECTION: usize = 3000;
/// Longest text of all blocks: about 13,200 are refused as `msg_blocks_too_long`, undocumented.
const MAX_BLOCKS_TEXT: usize = 11_000;
/// Longest header.
const MAX_HEADER: usize = 150;
/// Longest description of a picture that is sent; Slack takes 2,000.
const MAX_ALT: usize = 1000;

/// One `chat.postMessage`, without channel and thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// What a notification shows.
    pub text: String,
    /// What the channel shows.
    pub blocks: Vec<Value>,
}

impl Post {
    /// The same words without markup.
    #[must_use]
    pub fn plain(mut self) -> Self {
        for block in &mut self.blocks {
            if let Some(text) = block.pointer("/text/text").and_then(Value::as_str)
                && block.get("type").is_some_and(|kind| kind == "section")
            {
                *block = json!({"type": "section", "text": plain(&stripped(Dialect::Slack, text))});
            }
        }
        self
    }

    /// How a reader sees it, as HTML.
    pub fn page(&self) -> String {
        let text = |block: &Value, at: &str| {
            let text = block.pointer(at).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let shown = self.blocks.iter().map(|block| {
            let words = text(block, "/text/text");
            match text(block, "/type").as_str() {
                "header" => format!("<h3>{}</h3>\n", escape(Dialect::Html, &words)),
                "section" if text(block, "/text/type") == "mrkdwn" => {
                    page::fragment(Dialect::Slack, &words)
                }
                "section" => page::plain(&words),
                "image" => page::chart(&text(block, "/alt_text")),
                _ => {
                    let words = text(block, "/elements/0/text");
                    format!("<small>{}</small>\n", escape(Dialect::Html, &words))
                }
            }
        });
        shown.collect()
    }

    /// With the uploaded chart below the words; the last block stays the last.
    #[must_use]
    pub fn with_chart(mut self, file: &str, alt: &str) -> Self {
        let alt = if alt.is_empty() { "chart" } else { alt };
        let image = json!({
            "type": "image",
            "slack_file": {"id": file},
            "alt_text": shorten(alt, MAX_ALT),
        });
        self.blocks
            .insert(self.blocks.len().saturating_sub(1), image);
        self
    }
}

/// The posts of a message, in order; the later ones belong into the thread of the first.
pub fn build(view: &View, body: &str, mention: &[SlackMention]) -> Vec<Post> {
    let parts = split(Dialect::Slack, Unit::Utf16, MAX_BLOCKS_TEXT, body);
    let parts = if parts.is_empty() {
        vec![String::new()]
    } else {
        parts
    };
    let of = parts.len();
    let headline = format!("{} {}", circle(view.tone), bare(&view.headline));
    parts
        .iter()
        .enumerate()
        .map(|(n, part)| {
            let mut blocks = Vec::with_capacity(12);
            if n == 0 {
                blocks.push(json!({"type": "header", "text": plain(&fit(&headline))}));
            }
            blocks.extend(
                split(Dialect::Slack, Unit::Utf16, MAX_SECTION, part)
                    .iter()
                    .map(|text| section(text)),
            );
            if n == 0 && !mention.is_empty() {
                let named: Vec<String> = mention.iter().map(ToString::to_string).collect();
                blocks.push(section(&named.join(" ")));
            }
            blocks.push(json!({"type": "context", "elements": [plain(&footer(view, n, of))]}));
            Post {
                text: escape(Dialect::Slack, &view.headline),
                blocks,
            }
        })
        .collect()
}

/// What is told to the whole channel although it is in a thread.
pub fn is_broadcast(kind: NoticeKind) -> bool {
    matches!(
        kind,
        NoticeKind::HoldPage | NoticeKind::ApprovalWanted | NoticeKind::Recovery
    )
}

fn section(text: &str) -> Value {
    // `verbatim`: Slack links no bare address or channel name by itself.
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

fn footer(view: &View, n: usize, of: usize) -> String {
    let mut footer = format!("{} {}", view.w.reference, bare(&view.reference));
    if !view.at.is_empty() {
        footer = format!("{footer} · {}", view.at);
    }
    if of > 1 {
        footer = format!("{footer} · ({}/{of})", n + 1);
    }
    footer
}

fn circle(tone: &str) -> char {
    match tone {
        "bad" => '🔴',
        "good" => '🟢',
        _ => '🟠',
    }
}

fn fit(headline: &str) -> String {
    let mut size = 0;
    headline
        .chars()
        .take_while(|c| {
            size += c.len_utf16();
            size <= MAX_HEADER
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::Notice;
    use crate::notify::render::sample::{
        PAYLOADS, alert, english, everywhere, finished, firing, many,
    };
    use crate::notify::render::view::calls_people;
    use crate::notify::render::{ChartPlace, Renderer};

    fn posts(notice: &Notice, mention: &[&str]) -> Vec<Post> {
        let view = View::of(notice, &english(), &ChartPlace::Nowhere, 20);
        let body = Renderer::shipped()
            .unwrap()
            .render(Dialect::Slack, &view)
            .unwrap();
        let mention: Vec<SlackMention> = mention.iter().map(|who| who.parse().unwrap()).collect();
        let mention = if calls_people(notice) {
            mention
        } else {
            Vec::new()
        };
        build(&view, &body, &mention)
    }

    fn texts(post: &Post) -> String {
        let sections = post
            .blocks
            .iter()
            .filter(|block| block["type"] == "section");
        sections
            .map(|block| block["text"]["text"].as_str().unwrap())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_follow_up_is_exactly_these_blocks() {
        let mut notice = finished();
        notice.decision = None;
        assert_eq!(
            posts(&notice, &["U1"]),
            [Post {
                text: "ROLLBACK FINISHED: Rollback of checkout (checkout prod)".into(),
                blocks: vec![
                    json!({"type": "header", "text": {"type": "plain_text", "emoji": false,
                        "text": "🟢 ROLLBACK FINISHED: Rollback of checkout (checkout prod)"}}),
                    json!({"type": "section", "text": {"type": "mrkdwn", "verbatim": true, "text":
                        "*Release:* `checkout@1.8.1`\n*Execution:* rollback-batch 01K\n*Status:* SUCCEEDED\n\
                         *Incident:* `checkout@prod-17`\n\n\
                         <https://backstop.example.com/incidents/checkout@prod-17|incident>"}}),
                    json!({"type": "context", "elements": [{"type": "plain_text", "emoji": false,
                        "text": "Ref checkout@prod-17 · 2026-03-01 12:00:00 +00:00"}]}),
                ],
            }]
        );
    }

    #[test]
    fn the_chart_stands_between_words_and_footer() {
        let post = posts(&finished(), &[]).remove(0).with_chart("F1", "");
        assert_eq!(
            post.blocks[2],
            json!({"type": "image", "slack_file": {"id": "F1"}, "alt_text": "chart"})
        );
        assert_eq!(post.blocks[3]["type"], "context");
    }

    #[test]
    fn the_limits_hold_for_a_hundred_alerts_a_giant_one_and_wide_letters() {
        let mut giant = firing();
        giant.alerts = vec![alert("Giant", &"<&> \u{20BB7}中文 ".repeat(4000))];
        giant.subject = "\u{20BB7}".repeat(300);
        for notice in [many(300), giant] {
            let posts = posts(&notice, &["here"]);
            assert!(posts.len() > 1);
            for (n, post) in posts.iter().enumerate() {
                assert!(post.blocks.len() <= 50);
                let footer = post.blocks.last().unwrap()["elements"][0]["text"]
                    .as_str()
                    .unwrap();
                assert!(footer.ends_with(&format!("({}/{})", n + 1, posts.len())));
                let mut all = 0;
                for block in &post.blocks {
                    let text = block["text"]["text"].as_str().unwrap_or_default();
                    let size = text.encode_utf16().count();
                    assert!(size <= if block["type"] == "header" { 150 } else { 3000 });
                    all += size;
                }
                assert!(all <= 13_200);
            }
            let all: String = posts.iter().map(texts).collect();
            assert!(notice.alerts.iter().all(|alert| all.contains(&alert.name)));
        }
    }

    #[test]
    fn payloads_stay_text_and_only_the_configuration_mentions() {
        for payload in PAYLOADS {
            let posts = posts(&everywhere(&payload.repeat(20)), &["channel"]);
            let mut mentions = 0;
            for post in &posts {
                let text = texts(post);
                mentions += text.matches("<!").count() + text.matches("<@").count();
                let links = text.matches("<https://").count();
                assert_eq!(
                    links,
                    text.matches("<https://backstop.example.com/").count(),
                    "{text}"
                );
                assert!(!post.text.contains(['<', '>']));
                for block in post.blocks.iter().filter(|block| block["type"] == "header") {
                    assert!(!block["text"]["text"].as_str().unwrap().contains(['<', '&']));
                }
            }
            assert_eq!(mentions, 1, "{payload:?}");
        }
    }
}
