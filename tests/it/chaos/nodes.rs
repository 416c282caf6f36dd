//! Two real `backstop serve` processes over one directory, each behind proxies of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::gateway::TestGateway;
use crate::support::holding::Holding;
use crate::support::process::{Process, Ready};

/// One replica, and every wire it uses.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) gate: Holding,
    pub(super) metrics: Holding,
    pub(super) slack: Holding,
}

impl Node {
    /// Starts replica `number` with the site's configuration, its wires through proxies.
    pub(super) async fn start(site: &TestGateway, number: usize) -> Self {
        let address = |url: &str| -> SocketAddr {
            let (_, rest) = url.split_once("//").unwrap();
            rest.split('/').next().unwrap().parse().unwrap()
        };
        let behind = |url: &str| vec![address(url)];
        let (gate, metrics) = (site.gate.url(), site.metrics.url());
        let slack = site.slack.url();
        let node = (
            Holding::start(number, behind(&gate)).await,
            Holding::start(number, behind(&metrics)).await,
            Holding::start(number, behind(&slack)).await,
        );
        let moved = [
            (gate, node.0.url()),
            (metrics, node.1.url()),
            (format!("http://{}", address(&slack)), node.2.url()),
        ];
        let folder = site.config.parent().unwrap().to_owned();
        let mine = folder.join(format!("node-{number}"));
        for part in ["secrets", "channels", "rules/policy"] {
            copy(&folder.join(part), &mine.join(part), &moved);
        }
        let config = mine.join("backstop.yaml");
        copy_file(&site.config, &config, &moved);
        Self {
            process: serve(&config, &mine.join("backstop.log")).await,
            gate: node.0,
            metrics: node.1,
            slack: node.2,
        }
    }
}

async fn serve(config: &Path, log: &Path) -> Process {
    let config: PathBuf = config.to_owned();
    let recipe = move |port: u16| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
        command
            .args(["serve", "--config.file"])
            .arg(&config)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    };
    Process::start("backstop", log, Ready::Http("/-/ready"), recipe)
        .await
        .unwrap()
}

fn copy(from: &Path, to: &Path, moved: &[(String, String)]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let file = entry.unwrap().path();
        copy_file(&file, &to.join(file.file_name().unwrap()), moved);
    }
}

fn copy_file(from: &Path, to: &Path, moved: &[(String, String)]) {
    let mut text = fs::read_to_string(from).unwrap();
    for (old, new) in moved {
        text = text.replace(old, new);
    }
    fs::write(to, text).unwrap();
}
