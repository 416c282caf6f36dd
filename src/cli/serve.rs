//! `serve`: runs the gateway until it is told to stop.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::exit::{Exit, Failure};
use super::place::{ConfigArgs, refuse};
use crate::app::{App, Options, Running};
use crate::config::load::{self, Secrets};
use crate::config::{Config, WebConfig};
use crate::domain::clock::SystemClock;
use crate::telemetry::log::LogFormat;

/// `serve`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to listen; `:9095` is every IPv4 address.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDR",
        env = "BACKSTOP_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9095",
        value_parser = listen_address
    )]
    pub listen: SocketAddr,
    /// How people and chat clients reach the gateway: links, approvals and charts. Stands above
    /// `web.external_url` of the configuration.
    #[arg(
        long = "web.external-url",
        value_name = "URL",
        env = "BACKSTOP_WEB_EXTERNAL_URL",
        value_parser = external_url
    )]
    pub external_url: Option<Url>,
    /// TLS of the listener, in the style of Prometheus.
    #[arg(
        long = "web.config.file",
        value_name = "FILE",
        env = "BACKSTOP_WEB_CONFIG_FILE"
    )]
    pub web_config: Option<PathBuf>,
    /// error, warn, info, debug or trace; or a list of target=level.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        env = "BACKSTOP_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
    /// logfmt or json.
    #[arg(
        long = "log.format",
        value_name = "FORMAT",
        env = "BACKSTOP_LOG_FORMAT",
        default_value = "logfmt"
    )]
    pub log_format: LogFormat,
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    let mut found = whole
        .to_socket_addrs()
        .map_err(|error| format!("it must be like 127.0.0.1:9095 or :9095 ({error})"))?;
    found
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

fn external_url(text: &str) -> Result<Url, String> {
    crate::config::channel::base_url(text).map_err(|error| error.to_string())
}

/// Everything the gateway is started with.
#[derive(Debug)]
pub struct Start {
    /// The main file, to be read again when it changes; None: the defaults.
    pub config_file: Option<PathBuf>,
    /// What it said.
    pub config: Config,
    /// Where to listen.
    pub listen: SocketAddr,
    /// From the command line: stands above the configuration, also after a reload.
    pub external_url: Option<Url>,
    /// TLS.
    pub web: WebConfig,
}

/// Reads what there is to read and runs the gateway.
///
/// # Errors
/// When the configuration can't be used or the gateway can't start.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config_file = args.config.file();
    let mut config = args.config.load(Secrets::Read)?;
    let web = match &args.web_config {
        None => WebConfig::default(),
        Some(file) => load::load_web_config(file).map_err(|problems| refuse(&problems))?,
    };
    if args.external_url.is_some() {
        config.web.external_url.clone_from(&args.external_url);
    }
    start_gateway(Start {
        config_file,
        config,
        listen: args.listen,
        external_url: args.external_url,
        web,
    })
    .await
}

/// Builds the app and serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
async fn start_gateway(start: Start) -> anyhow::Result<ExitCode> {
    let Start {
        config_file,
        config,
        listen,
        external_url,
        web,
    } = start;
    // Bound first: a taken port is told before the store is touched.
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        let text = format!("can't listen on {listen}: {error}");
        Failure::new(Exit::Unreachable, text)
    })?;
    let options = Options {
        config_file,
        web_config: web,
        external_url,
        clock: Arc::new(SystemClock),
    };
    let app = App::build(config, options).await?;
    let running = app.start(listener).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "backstop {} listens on {}",
        env!("CARGO_PKG_VERSION"),
        running.address
    );
    wait_for_the_end(&running).await?;
    tracing::info!("stopping: no new work is taken, what is in hand is finished");
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn wait_for_the_end(running: &Running) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // What is wrong with the files is logged there; the old configuration stays.
            _ = hangup.recv() => drop(running.reload().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_may_be_a_port_alone() {
        let address = |text: &str| listen_address(text).map(|address| address.to_string());
        assert_eq!(address(":9095").as_deref(), Ok("0.0.0.0:9095"));
        assert_eq!(address("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(address("[::1]:80").as_deref(), Ok("[::1]:80"));
        assert!(address("9095").is_err());
    }
}
