//! The documented limits of a Slack message, and its plain form.

use std::time::Duration;

use serde_json::{Value, json};

/// `ok: false`.
#[derive(Debug, Clone)]
pub struct Refusal {
    code: &'static str,
    detail: Option<String>,
    /// 429 with Retry-After instead of 200.
    pub wait: Option<Duration>,
}

impl Refusal {
    /// With Slack's word for it.
    pub fn new(code: &'static str) -> Self {
        Self {
            code,
            detail: None,
            wait: None,
        }
    }

    /// With what Slack adds in `response_metadata`.
    pub fn detailed(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(code)
        }
    }

    /// 429.
    pub fn rate_limited(wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..Self::new("ratelimited")
        }
    }

    /// The answer's body.
    pub fn body(&self) -> Value {
        let mut body = json!({"ok": false, "error": self.code});
        if let Some(detail) = &self.detail {
            body["response_metadata"] = json!({"messages": [detail]});
        }
        body
    }
}

/// Whether Slack would take the message; `max_text` is the top-level text's limit.
pub fn check(body: &Value, max_text: usize) -> Result<(), Refusal> {
    let text = body.get("text").and_then(Value::as_str).unwrap_or_default();
    let none = Vec::new();
    let blocks = body
        .get("blocks")
        .and_then(Value::as_array)
        .unwrap_or(&none);
    if text.is_empty() && blocks.is_empty() {
        return Err(Refusal::new("no_text"));
    }
    if text.chars().count() > max_text {
        return Err(Refusal::new("msg_too_long"));
    }
    if body
        .get("metadata")
        .is_some_and(|metadata| metadata.to_string().len() > 16_000)
    {
        return Err(Refusal::new("metadata_too_large"));
    }
    if blocks.len() > 50 {
        return Err(invalid(
            "no more than 50 items allowed [json-pointer:/blocks]",
        ));
    }
    let sizes = blocks
        .iter()
        .map(block)
        .collect::<Result<Vec<usize>, _>>()?;
    if sizes.iter().sum::<usize>() > 13_200 {
        return Err(Refusal::new("msg_blocks_too_long"));
    }
    Ok(())
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::detailed("invalid_blocks", format!("[ERROR] {}", detail.into()))
}

/// Checks a block; its text's size.
fn block(block: &Value) -> Result<usize, Refusal> {
    match block.get("type").and_then(Value::as_str) {
        Some("header") => sized(block.get("text"), &["plain_text"], 150),
        Some("section") => sized(block.get("text"), &["mrkdwn", "plain_text"], 3000),
        Some("divider") => Ok(0),
        Some("context") => {
            let elements = block.get("elements").and_then(Value::as_array);
            let elements = elements.ok_or_else(|| invalid("missing elements"))?;
            if elements.is_empty() || elements.len() > 10 {
                return Err(invalid("1 to 10 elements in a context"));
            }
            let sizes = elements
                .iter()
                .map(|one| sized(Some(one), &["mrkdwn", "plain_text"], 3000));
            Ok(sizes.collect::<Result<Vec<usize>, _>>()?.iter().sum())
        }
        Some("image") => {
            let alt = block
                .get("alt_text")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if alt.is_empty() || alt.chars().count() > 2000 {
                return Err(invalid("alt_text must have 1 to 2000 characters"));
            }
            if block
                .pointer("/slack_file/id")
                .and_then(Value::as_str)
                .is_none()
            {
                return Err(invalid("an image needs slack_file.id or image_url"));
            }
            Ok(alt.chars().count())
        }
        other => Err(invalid(format!("unsupported type: {other:?}"))),
    }
}

fn sized(text: Option<&Value>, kinds: &[&str], max: usize) -> Result<usize, Refusal> {
    let text = text.ok_or_else(|| invalid("missing text"))?;
    let kind = text.get("type").and_then(Value::as_str).unwrap_or_default();
    if !kinds.contains(&kind) {
        return Err(invalid(format!("unsupported type: {kind}")));
    }
    if kind == "plain_text" && text.get("verbatim").is_some() {
        return Err(invalid("verbatim is for mrkdwn"));
    }
    if kind == "mrkdwn" && text.get("emoji").is_some() {
        return Err(invalid("emoji is for plain_text"));
    }
    let size = text
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .chars()
        .count();
    if size == 0 || size > max {
        return Err(invalid(format!(
            "must have 1 to {max} characters [json-pointer:/text]"
        )));
    }
    Ok(size)
}

/// The file a message shows.
pub fn file(body: &Value) -> Option<String> {
    let blocks = body.get("blocks").and_then(Value::as_array)?;
    let id = blocks
        .iter()
        .find_map(|block| block.pointer("/slack_file/id"))?;
    id.as_str().map(str::to_owned)
}

/// A message's words, block by block.
pub fn text(body: &Value) -> String {
    let mut words: Vec<&str> = Vec::new();
    for block in body
        .get("blocks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        words.extend(block.pointer("/text/text").and_then(Value::as_str));
        let elements = block.get("elements").and_then(Value::as_array);
        words.extend(
            elements
                .into_iter()
                .flatten()
                .filter_map(|one| one.get("text")?.as_str()),
        );
    }
    words.join("\n")
}
