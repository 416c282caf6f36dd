//! `replay`: recorded webhook bodies, posted to a gateway as their senders would.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::exit::{Exit, Failure};
use super::gateway::{Gateway, GatewayArgs, Request, base_url, refusal};
use super::output::{Out, OutputArgs, count};
use super::{place, render};
use crate::domain::alert::Source;

/// `replay`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file with a body, or a folder of `*.json` files, taken in the order of their names.
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The gateway to post to.
    #[arg(
        long,
        value_name = "URL",
        env = "BACKSTOP_GATEWAY",
        default_value = "http://127.0.0.1:9095",
        value_parser = base_url
    )]
    to: Url,
    /// A file that holds the bearer token; a token is never a flag.
    #[arg(long, value_name = "FILE", env = "BACKSTOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The longest wait for one answer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Send nothing; show what each body holds.
    #[arg(long)]
    dry_run: bool,
    /// In a dry run: when the bodies were received; left out: now.
    #[arg(long, value_name = "TIME", requires = "dry_run")]
    at: Option<Timestamp>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What became of one body.
#[derive(Debug, Serialize)]
struct Replayed {
    file: String,
    door: Source,
    /// The HTTP status; none in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The gateway's answer, or what the body holds.
    result: Value,
    #[serde(skip)]
    line: String,
    #[serde(skip)]
    exit: Exit,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = files(&args.path)?;
    let gateway = Gateway::new(&GatewayArgs {
        gateway: args.to.clone(),
        token_file: args.token_file.clone().filter(|_| !args.dry_run),
        timeout: args.timeout,
    })?;
    let mut out = Out::new(args.output.output);
    let mut all = Vec::new();
    for file in files {
        let body = place::read(&file)?;
        let name = file.display().to_string();
        let one = if args.dry_run {
            dry(name, &body, args.at)
        } else {
            post(&gateway, name, body).await?
        };
        out.note(&one.line)?;
        all.push(one);
    }
    let worst = all.iter().map(|one| one.exit).max().unwrap_or(Exit::Ok);
    if args.output.output == super::output::Format::Json {
        out.json(&all)?;
    }
    Ok(worst.into())
}

/// The bodies, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("`{}` can't be read: {error}", path.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(file);
        }
    }
    if files.is_empty() {
        let text = format!("`{}` holds no *.json file", path.display());
        return Err(Failure::usage(text));
    }
    files.sort();
    Ok(files)
}

fn dry(file: String, body: &[u8], at: Option<Timestamp>) -> Replayed {
    let door = render::door(body);
    match render::parse(body, at) {
        Ok(delivery) => {
            let alerts: usize = delivery.groups.iter().map(|group| group.alerts.len()).sum();
            let firing = delivery.groups.iter().flat_map(|group| &group.alerts);
            let firing = firing.filter(|alert| alert.is_firing()).count();
            let groups = count(delivery.groups.len(), "group");
            let alerts = count(alerts, "alert");
            let mut lines = vec![format!("{file}: {groups}, {alerts} ({firing} firing)")];
            let left_out = delivery.ignored.iter();
            lines.extend(left_out.map(|ignored| format!("  left out: {ignored}")));
            Replayed {
                file,
                door,
                status: None,
                result: serde_json::json!({
                    "groups": delivery.groups,
                    "ignored": delivery.ignored_count,
                }),
                line: lines.join("\n"),
                exit: Exit::Ok,
            }
        }
        Err(failure) => Replayed {
            line: format!("{file}: {failure}"),
            file,
            door,
            status: None,
            result: Value::from(failure.message),
            exit: Exit::Findings,
        },
    }
}

async fn post(gateway: &Gateway, file: String, body: Vec<u8>) -> Result<Replayed, Failure> {
    let door = render::door(&body);
    let path: &[&str] = match door {
        Source::Alertmanager => &["api", "v1", "webhook"],
        Source::Vmalert => &["api", "v2", "alerts"],
    };
    let request = Request {
        method: Method::POST,
        path,
        body: Some(body),
        key: None,
    };
    let reply = gateway
        .call(request)
        .await
        .map_err(|error| gateway.lost(&error))?;
    let (words, exit) = if reply.status.is_success() {
        (fields(&reply.body), Exit::Ok)
    } else {
        let failure = refusal(&reply);
        // A body the gateway can't accept is a finding about the recording, not about the flags.
        let exit = match reply.status {
            StatusCode::BAD_REQUEST => Exit::Findings,
            _ => failure.exit,
        };
        (failure.message, exit)
    };
    Ok(Replayed {
        line: format!("{file}: {} {words}", reply.status.as_u16()),
        file,
        door,
        status: Some(reply.status.as_u16()),
        result: reply.body,
        exit,
    })
}

/// `delivered=1 pending=0 …`
fn fields(body: &Value) -> String {
    let Some(fields) = body.as_object() else {
        return body.to_string();
    };
    let words: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    words.join(" ")
}
