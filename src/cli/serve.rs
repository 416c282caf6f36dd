//! `serve`: runs the gateway until it is told to stop.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use url::Url;

use super::exit::{Exit, Failure};
use super::place::{ConfigArgs, refuse};
use crate::config::load::{self, Secrets};
use crate::config::{Config, WebConfig};
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

fn listen_address(text: &str) -> Result<SocketAddr, String> {
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

/// Builds the app and serves until a signal.
async fn start_gateway(start: Start) -> anyhow::Result<ExitCode> {
    let Start { listen, .. } = start;
    std::future::ready(()).await;
    let text = format!("this build has no gateway to listen on {listen}");
    Err(Failure::new(Exit::Findings, text).into())
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
