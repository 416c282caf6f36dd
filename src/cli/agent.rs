//! `agent`: deploys on this host what the gateway wants here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::place::{refuse, signal};
use super::serve::listen_address;
use crate::agent::{Agent, AgentError, Unbroken};
use crate::config::agent;
use crate::config::load::Secrets;
use crate::domain::clock::SystemClock;
use crate::telemetry::log::LogFormat;

/// `agent`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `agent.yaml`: the gateway, the service, how it is restarted and found to be well.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        env = "BACKSTOP_AGENT_CONFIG_FILE"
    )]
    config_file: PathBuf,
    /// Where metrics are told; `:9096` is every IPv4 address.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDR",
        env = "BACKSTOP_AGENT_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9096",
        value_parser = listen_address
    )]
    listen: SocketAddr,
    /// Only read the configuration, its secrets left out, and say what is wrong with it.
    #[arg(long)]
    check: bool,
    /// error, warn, info, debug or trace; or a list of target=level.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        env = "BACKSTOP_LOG_LEVEL",
        default_value = "info"
    )]
    pub(super) log_level: String,
    /// logfmt or json.
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        env = "BACKSTOP_LOG_FORMAT",
        default_value = "logfmt"
    )]
    pub(super) log_format: LogFormat,
}

/// Works until SIGTERM or SIGINT. What is in hand then is taken up at the next start.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let secrets = if args.check {
        Secrets::Unread
    } else {
        Secrets::Read
    };
    let config = agent::load(&args.config_file, secrets).map_err(|problems| refuse(&problems))?;
    if args.check {
        return Ok(Exit::Ok.into());
    }
    // Bound first: a taken port is told before anything is touched.
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        let text = format!("can't listen on {}: {error}", args.listen);
        Failure::new(Exit::Unreachable, text)
    })?;
    let address = listener.local_addr()?;
    let (service, env, host) = (
        config.service.clone(),
        config.env.clone(),
        config.host.clone(),
    );
    let agent = Agent::new(config, Arc::new(SystemClock), Arc::new(Unbroken));
    let agent = agent.map_err(|error| match error {
        AgentError::Root { .. } => Failure::new(Exit::Conflict, told(&error)),
        AgentError::Client(_) => Failure::new(Exit::Findings, told(&error)),
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "backstop agent {} looks after `{service}` in `{env}` on `{host}`; metrics on {address}",
        env!("CARGO_PKG_VERSION"),
    );
    let stop = CancellationToken::new();
    let running = agent.run(listener, stop.clone());
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => {}
        ended = signal() => {
            ended?;
            stop.cancel();
            running.await;
        }
    }
    tracing::info!("stopped; the service runs on");
    Ok(ExitCode::SUCCESS)
}

fn told(error: &AgentError) -> String {
    error.to_string()
}
