//! `explain`: why something was decided, or why nothing happened.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Method;

use super::exit::{Exit, Failure};
use super::gateway::{Gateway, GatewayArgs, Request, read, shape};
use super::output::{Out, OutputArgs};
use super::place::{self, ConfigArgs};
use crate::app;
use crate::config::load::Secrets;
use crate::domain::clock::{self, Clock as _, SharedClock, SystemClock};
use crate::domain::id::{Env, IncidentId, Service};
use crate::domain::moment;
use crate::explain::{self, Explanation, Moment};

const PATH: &[&str] = &["api", "v1", "explain"];

/// `explain`
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["service", "incident", "body"]))]
pub struct Args {
    /// What happened to this service, and why nothing did.
    #[arg(long, value_name = "NAME")]
    service: Option<Service>,
    /// Only in this environment.
    #[arg(long, value_name = "NAME", requires = "service")]
    env: Option<Env>,
    /// The moment: `14:02` (the last one), `-2h`, `2026-11-22 14:02`, RFC 3339, or `now`.
    #[arg(
        long,
        value_name = "TIME",
        requires = "service",
        default_value = "now",
        allow_hyphen_values = true
    )]
    at: String,
    /// How much before and after it is looked at.
    #[arg(long, value_name = "DURATION", requires = "service", default_value = "5m", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Why this incident was opened, and what came of it.
    #[arg(long, value_name = "ID")]
    incident: Option<IncidentId>,
    /// What this body of an Alertmanager or a vmalert would come to now; nothing is told or done.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The zone of times without an offset, and of those that are shown; left out: this machine's.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<TimeZone>,
    /// Read the store of the configuration instead of asking a gateway: for when none answers.
    #[arg(long, conflicts_with = "body")]
    from_store: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "an IANA name such as Asia/Shanghai or UTC".to_owned())
}

/// The zone that was named, else this machine's; one without a name is told as UTC.
pub(super) fn zone_or_local(named: Option<&TimeZone>) -> (TimeZone, String) {
    let zone = named.cloned().unwrap_or_else(TimeZone::system);
    match zone.iana_name().map(str::to_owned) {
        Some(name) if TimeZone::get(&name).is_ok() => (zone, name),
        _ => (TimeZone::UTC, "UTC".to_owned()),
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (zone, zone_name) = zone_or_local(args.time_zone.as_ref());
    let clock: SharedClock = Arc::new(SystemClock);
    let moment = args
        .service
        .clone()
        .map(|service| moment_of(&args, service, SystemClock.now(), &zone, zone_name))
        .transpose()?;
    let explanation = if args.from_store {
        from_store(&args, moment, &zone, &clock).await?
    } else {
        ask(&args, moment).await?
    };
    let mut out = Out::new(args.output.output);
    out.show(&explanation, || explain::text(&explanation, &zone))?;
    Ok(Exit::Ok.into())
}

fn moment_of(
    args: &Args,
    service: Service,
    now: Timestamp,
    zone: &TimeZone,
    time_zone: String,
) -> Result<Moment, Failure> {
    let at = moment::parse(&args.at, now, zone)
        .map_err(|error| Failure::usage(format!("--at: {error}")))?;
    if at > now {
        return Err(Failure::usage(format!("--at: {at} is yet to come")));
    }
    Ok(Moment {
        service,
        env: args.env.clone(),
        at,
        from: clock::before(at, args.window),
        to: clock::after(at, args.window).min(now),
        time_zone,
    })
}

async fn ask(args: &Args, moment: Option<Moment>) -> anyhow::Result<Explanation> {
    let gateway = Gateway::new(&args.gateway)?;
    let answer = match (&moment, &args.incident, &args.body) {
        (Some(moment), _, _) => {
            let at = moment.at.to_string();
            let window = humantime::format_duration(args.window).to_string();
            let mut query = vec![
                ("service", moment.service.as_str()),
                ("at", &at),
                ("window", &window),
                ("time_zone", &moment.time_zone),
            ];
            query.extend(moment.env.as_ref().map(|env| ("env", env.as_str())));
            gateway.query(PATH, &query).await?
        }
        (None, Some(incident), _) => {
            let query = [("incident", incident.as_str())];
            gateway.query(PATH, &query).await?
        }
        (None, None, Some(file)) => {
            let request = Request {
                method: Method::POST,
                path: PATH,
                body: Some(place::read(file)?),
                key: None,
            };
            let reply = gateway.call(request).await;
            read(reply.map_err(|error| gateway.lost(&error))?)?.body
        }
        (None, None, None) => return Err(Failure::usage("nothing is asked").into()),
    };
    Ok(shape(&answer)?)
}

async fn from_store(
    args: &Args,
    moment: Option<Moment>,
    zone: &TimeZone,
    clock: &SharedClock,
) -> anyhow::Result<Explanation> {
    let config = args.config.load(Secrets::Read)?;
    let store = place::open_store(&config)?;
    let failed = |error| place::store_failed(&error);
    match (moment, &args.incident) {
        (Some(moment), _) => Ok(app::from_store(&store, &config, clock, moment, zone)
            .await
            .map_err(failed)?),
        (None, Some(incident)) => app::incident_from_store(&store, clock, incident)
            .await
            .map_err(failed)?
            .ok_or_else(|| {
                let text = format!("there is no incident `{incident}` in this store");
                Failure::new(Exit::Findings, text).into()
            }),
        (None, None) => {
            Err(Failure::usage("--from-store explains a --service or an --incident").into())
        }
    }
}
