//! Slack's answers: what counts as yes, and what its errors mean (docs.slack.dev, `chat.postMessage`).

use serde_json::Value;

use crate::notify::channel::{Class, SendError};

/// A field that every accepted answer has.
///
/// # Errors
/// When it is not there: the message may be out all the same.
pub(super) fn text(answer: &Value, field: &str) -> Result<String, SendError> {
    answer
        .get(field)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            SendError::new(
                Class::MaybeSent,
                "bad_answer",
                format!("an answer without `{field}`"),
            )
        })
}

/// Slack says yes by `ok` alone, whatever the status.
///
/// # Errors
/// With what the answer's `error` means.
pub(super) fn checked(answer: Value) -> Result<Value, SendError> {
    if answer.get("ok").and_then(Value::as_bool) == Some(true) {
        return Ok(answer);
    }
    let code = answer
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("bad_answer");
    let details = answer
        .pointer("/response_metadata/messages")
        .and_then(Value::as_array);
    let detail = details
        .and_then(|details| details.first())
        .and_then(Value::as_str);
    Err(refusal(code, detail.unwrap_or("refused")))
}

/// What Slack's `error` means.
fn refusal(code: &str, detail: &str) -> SendError {
    let class = match code {
        "ratelimited"
        | "rate_limited"
        | "internal_error"
        | "service_unavailable"
        | "request_timeout"
        | "message_limit_exceeded" => Class::Retry,
        // Perhaps partly done.
        "fatal_error" | "bad_answer" => Class::MaybeSent,
        "channel_not_found" | "not_in_channel" | "is_archived" | "invalid_auth" | "not_authed"
        | "token_revoked" | "token_expired" | "account_inactive" | "missing_scope" => Class::Broken,
        _ if code.starts_with("restricted_action") => Class::Broken,
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_blocks_too_long"
        | "msg_too_long"
        | "no_text"
        | "too_many_attachments"
        | "attachment_payload_limit_exceeded"
        | "metadata_too_large"
        | "cannot_reply_to_message" => Class::Permanent,
        // Not in the vendor's table: it may pass, and if it does not, people hear of it.
        _ => Class::Retry,
    };
    let known: String = code
        .chars()
        .filter(|c| c.is_ascii_lowercase() || *c == '_')
        .take(64)
        .collect();
    SendError::new(class, known, detail).fixed_by(fix(code))
}

/// What a person does about Slack's `error`.
fn fix(code: &str) -> Option<&'static str> {
    Some(match code {
        "not_in_channel" => "invite the bot into the channel: /invite @name-of-the-app",
        "channel_not_found" => {
            "set `channel:` to the channel's id (C…, at the end of its details), and invite the bot if it is private"
        }
        "is_archived" => "unarchive the channel, or name another one",
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "install the app again and copy its bot token (xoxb-…)"
        }
        "missing_scope" => {
            "give the app the scopes chat:write and files:write, and install it again"
        }
        _ if code.starts_with("restricted_action") => {
            "let the app post in this channel, by the channel's or the workspace's settings"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_have_the_class_the_vendor_documents() {
        for (codes, class) in [
            (
                "ratelimited rate_limited internal_error service_unavailable request_timeout \
                 message_limit_exceeded something_new",
                Class::Retry,
            ),
            ("fatal_error bad_answer", Class::MaybeSent),
            (
                "channel_not_found not_in_channel is_archived invalid_auth token_revoked \
                 token_expired account_inactive missing_scope restricted_action \
                 restricted_action_read_only_channel",
                Class::Broken,
            ),
            (
                "invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long no_text \
                 too_many_attachments attachment_payload_limit_exceeded metadata_too_large \
                 cannot_reply_to_message",
                Class::Permanent,
            ),
        ] {
            for code in codes.split_whitespace() {
                let refused = refusal(code, "");
                assert_eq!(refused.class, class, "{code}");
                let needs_a_person = class == Class::Broken;
                assert_eq!(refused.fix.is_some(), needs_a_person, "{code}");
            }
        }
        assert_eq!(refusal("x\n<b> y", "").code, "xby");
    }

    #[test]
    fn an_answer_counts_only_with_ok_true() {
        assert!(checked(json!({"ok": true})).is_ok());
        let error = checked(json!({"ok": false, "error": "not_in_channel"})).unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (Class::Broken, "not_in_channel")
        );
        assert_eq!(
            checked(json!({"ok": "yes"})).unwrap_err().class,
            Class::MaybeSent
        );
    }
}
