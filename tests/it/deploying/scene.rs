//! A gateway over a directory, and somebody with a token for all of it.

use serde_json::{Value, json};

use crate::support::gateway::Replica;
use crate::support::process;

/// Its only token.
pub(super) const TOKEN: &str = "let-me-in";

/// The gateway and its caller.
pub(super) struct Scene {
    folder: tempfile::TempDir,
    pub(super) gateway: Replica,
    pub(super) http: reqwest::Client,
}

impl Scene {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "auth: {{tokens: [{{name: all, token: {{file: token}}, scopes: [read, deploy]}}]}}\n\
             store: {{url: 'file:{}/store'}}\ntiming: {{catalog_refresh: 200ms}}\nservices:\n  checkout:\n    \
             application: checkout\n    deploy: [{{pipeline: deploy-prod, env: prod, strategy: canary, \
             release: '{{parameters.release_id}}'}}]\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        std::fs::write(folder.path().join("backstop.yaml"), text).unwrap();
        let gateway = Replica::start(&folder.path().join("backstop.yaml")).await;
        Self {
            folder,
            gateway,
            http: process::client().unwrap(),
        }
    }

    /// Records one host of batch 1; status and answer.
    pub(super) async fn record(&self, host: Value) -> (u16, Value) {
        let url = format!(
            "http://{}/api/v1/deployments/E1/instances",
            self.gateway.address
        );
        let body = json!({"release_id": "checkout@2", "env": "prod", "instances": [host]});
        let asked = self.http.post(url).bearer_auth(TOKEN).json(&body);
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Links of a host's chain.
    pub(super) fn links(&self, host: &str) -> usize {
        let folder = format!("store/instances/checkout/prod/E1/{host}");
        let links = std::fs::read_dir(self.folder.path().join(folder));
        links.map_or(0, Iterator::count)
    }
}
