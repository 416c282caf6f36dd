//! Orca's webhook stage: a real call, and where wanted, real polling.
//!
//! The habits are Orca's: 5xx and 429 are sent again every 10 s for 5 minutes; a 404 while polling
//! ends the stage unless it is listed as retryable, and so does a refused connection; an unknown
//! status word means "still running"; a cancel endpoint is called once, on failure too.

use std::{str::FromStr, time::Duration};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Shared, engine::Outcome};

type Context = Map<String, Value>;

/// Runs the stage; what it learns is shown in `context.webhook` while it runs, too.
pub(super) async fn run(shared: &Shared, id: &str, at: usize, context: &Context) -> Outcome {
    let mut note = json!({});
    let status = match stage(shared, id, at, context, &mut note).await {
        Ok(status) => status,
        Err(error) => {
            note["error"] = json!(error);
            "TERMINAL"
        }
    };
    Outcome {
        context: Map::from_iter([("webhook".to_owned(), note)]),
        ..Outcome::of(status)
    }
}

/// Tells the far end, once, that the stage was canceled or has failed. Whether that works changes
/// nothing, as with Orca.
pub(super) async fn cancel_endpoint(shared: &Shared, context: &Context) {
    let Some(url) = text(context, "cancelEndpoint") else {
        return;
    };
    let method = text(context, "cancelMethod").unwrap_or("POST");
    let payload = context.get("cancelPayload");
    drop(send(shared, method, url, payload, context).await);
}

async fn stage(
    shared: &Shared,
    id: &str,
    at: usize,
    context: &Context,
    note: &mut Value,
) -> Result<&'static str, String> {
    let url = text(context, "url").ok_or("no url")?.to_owned();
    let mut status_url = text(context, "statusEndpoint").map(str::to_owned);
    let monitor_only = flag(context, "monitorOnly");
    if !monitor_only {
        let located = create(shared, id, context, &url, note).await?;
        show(shared, id, at, note);
        if !flag(context, "waitForCompletion") {
            return Ok("SUCCEEDED");
        }
        status_url = match text(context, "statusUrlResolution").unwrap_or("getMethod") {
            "getMethod" => Some(url),
            "locationHeader" => located,
            "webhookResponse" => {
                let path = text(context, "statusUrlJsonPath").unwrap_or_default();
                json_path(&note["body"], path)
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            }
            other => return Err(format!("unknown statusUrlResolution `{other}`")),
        };
    }
    let status_url = status_url.ok_or("no status endpoint")?;
    note["statusEndpoint"] = json!(status_url);
    let wait = context
        .get("waitBeforeMonitor")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    tokio::time::sleep(shared.scaled(Duration::from_secs_f64(wait))).await;
    monitor(shared, id, at, context, &status_url, note).await
}

/// Sends the call until it is accepted; returns the Location header.
async fn create(
    shared: &Shared,
    id: &str,
    context: &Context,
    url: &str,
    note: &mut Value,
) -> Result<Option<String>, String> {
    let method = text(context, "method").unwrap_or("POST");
    let give_up = Instant::now() + shared.scaled(Duration::from_mins(5));
    loop {
        let sent = send(shared, method, url, context.get("payload"), context).await;
        let response = sent.map_err(|error| format!("the call failed: {error}"))?;
        let status = response.status();
        let location = response.headers().get("location");
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        describe(response, note).await;
        let code = status.as_u16();
        let fail_fast = listed(context, "failFastStatusCodes", status)
            || (code == 504 && !context.contains_key("failFastStatusCodes"));
        if fail_fast {
            return Err(format!(
                "Received status code {code}, which is configured to fail fast, terminating stage \
                 for pipeline {id} to {url}"
            ));
        }
        let again = status.is_server_error()
            || code == 429
            || listed(context, "webhookRetryStatusCodes", status);
        if !again {
            return if code < 400 {
                Ok(location)
            } else {
                Err(format!("the call was answered {code}"))
            };
        }
        if Instant::now() >= give_up {
            return Err(format!("the call was answered {code} for too long"));
        }
        tokio::time::sleep(shared.scaled(Duration::from_secs(10))).await;
    }
}

/// Polls until the far end says how it went.
async fn monitor(
    shared: &Shared,
    id: &str,
    at: usize,
    context: &Context,
    url: &str,
    note: &mut Value,
) -> Result<&'static str, String> {
    let start = Instant::now();
    let limit = context
        .get("stageTimeoutMs")
        .and_then(Value::as_u64)
        .unwrap_or(3_600_000);
    let limit = shared.scaled(Duration::from_millis(limit));
    loop {
        match send(shared, "GET", url, None, context).await {
            Ok(response) => {
                let status = response.status();
                let mut seen = json!({});
                describe(response, &mut seen).await;
                note["monitor"] = seen;
                show(shared, id, at, note);
                if let Some(ended) = judged(context, status, &mut note["monitor"])? {
                    return Ok(ended);
                }
            }
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(format!("the poll failed: {error}")),
        }
        if start.elapsed() >= limit {
            return Err("the stage took too long".to_owned());
        }
        let minute = shared.scaled(Duration::from_mins(1));
        let pause = if start.elapsed() < minute { 1 } else { 15 };
        tokio::time::sleep(shared.scaled(Duration::from_secs(pause))).await;
    }
}

/// What one poll says; `None` means poll again.
fn judged(
    context: &Context,
    status: StatusCode,
    seen: &mut Value,
) -> Result<Option<&'static str>, String> {
    let code = status.as_u16();
    if status.is_server_error() || code == 429 || listed(context, "retryStatusCodes", status) {
        return Ok(None);
    }
    if code >= 400 {
        return Err(format!("the poll was answered {code}"));
    }
    let Some(path) = text(context, "statusJsonPath") else {
        return Ok(Some("SUCCEEDED"));
    };
    let body = seen["body"].clone();
    if let Some(path) = text(context, "progressJsonPath") {
        let progress = json_path(&body, path).and_then(Value::as_str);
        seen["progressMessage"] = json!(progress.ok_or(format!("no text at `{path}`"))?);
    }
    let word = match json_path(&body, path) {
        Some(Value::String(word)) => word.to_uppercase(),
        Some(Value::Number(number)) => {
            return Ok((number.as_i64() == Some(100)).then_some("SUCCEEDED"));
        }
        _ => return Err(format!("no status at `{path}`")),
    };
    if text(context, "successStatuses").is_none() {
        return Err("successStatuses is missing".to_owned());
    }
    let is = |key: &str| {
        let words = text(context, key).unwrap_or_default().to_uppercase();
        words.split(',').any(|listed| listed.trim() == word)
    };
    Ok(if is("successStatuses") {
        Some("SUCCEEDED")
    } else if is("canceledStatuses") {
        Some("CANCELED")
    } else if is("terminalStatuses") {
        Some("TERMINAL")
    } else {
        None
    })
}

async fn send(
    shared: &Shared,
    method: &str,
    url: &str,
    payload: Option<&Value>,
    context: &Context,
) -> Result<Response, reqwest::Error> {
    let method = Method::from_str(&method.to_uppercase()).unwrap_or(Method::POST);
    let mut request = shared.http.request(method.clone(), url);
    for (name, value) in context
        .get("customHeaders")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let values = match value {
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            value => value.as_str().into_iter().collect::<Vec<_>>(),
        };
        for value in values {
            request = request.header(name, value);
        }
    }
    if let Some(payload) = payload.filter(|_| method != Method::GET) {
        request = request.json(payload);
    }
    request.send().await
}

async fn describe(response: Response, note: &mut Value) {
    let status = response.status();
    let words = status.canonical_reason().unwrap_or_default().to_uppercase();
    let headers = response.headers().iter();
    let headers = headers.map(|(k, v)| (k.to_string(), json!(v.to_str().unwrap_or_default())));
    note["headers"] = Value::Object(headers.collect());
    note["statusCode"] = json!(words.replace([' ', '-'], "_"));
    note["statusCodeValue"] = json!(status.as_u16());
    let body = response.bytes().await.unwrap_or_default();
    if !body.is_empty() {
        let as_text = || json!(String::from_utf8_lossy(&body));
        note["body"] = serde_json::from_slice(&body).unwrap_or_else(|_| as_text());
    }
}

fn show(shared: &Shared, id: &str, at: usize, note: &Value) {
    shared.update(|world| {
        let stage = &mut world.run_mut(id).unwrap().stages[at];
        stage.context.insert("webhook".to_owned(), note.clone());
    });
}

fn text<'a>(context: &'a Context, key: &str) -> Option<&'a str> {
    context
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn flag(context: &Context, key: &str) -> bool {
    matches!(context.get(key), Some(Value::Bool(true))) || text(context, key) == Some("true")
}

/// Codes are listed as numbers or as texts.
fn listed(context: &Context, key: &str, status: StatusCode) -> bool {
    let codes = context.get(key).and_then(Value::as_array);
    let code = |value: &Value| {
        value
            .as_u64()
            .or_else(|| value.as_str()?.trim().parse().ok())
    };
    codes
        .into_iter()
        .flatten()
        .any(|value| code(value) == Some(u64::from(status.as_u16())))
}

/// `$.a.b`, `$['a']`, `$.a[0]`.
fn json_path<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    let steps = path
        .strip_prefix('$')?
        .split(['.', '['])
        .filter(|step| !step.is_empty());
    steps.into_iter().try_fold(body, |value, step| {
        let step = step.trim_end_matches(']').trim_matches(['\'', '"']);
        match step.parse::<usize>() {
            Ok(index) if value.is_array() => value.get(index),
            _ => value.get(step),
        }
    })
}
