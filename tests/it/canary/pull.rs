//! `canary pull` against gateways and vmalerts that misbehave.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use backstop::canary::group;
use tokio::process::Command;

/// A gateway and a vmalert at one address: what it answers, and how often it was told to reload.
#[derive(Clone, Default)]
struct FarEnd(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rules: (u16, String),
    reload: u16,
    reloads: usize,
}

impl FarEnd {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::clone(&self.0);
        let router = Router::new().fallback(move |request: Request| async move {
            let mut state = state.lock().unwrap();
            let (status, body) = match request.uri().path() {
                "/-/reload" => {
                    state.reloads += 1;
                    (state.reload, String::new())
                }
                "/api/v1/canary/rules.yaml" => state.rules.clone(),
                other => panic!("nobody asked for {other}"),
            };
            (StatusCode::from_u16(status).unwrap(), body)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answers(&self, status: u16, rules: &str, reload: u16) {
        let mut state = self.0.lock().unwrap();
        state.rules = (status, rules.to_owned());
        state.reload = reload;
    }

    fn reloads(&self) -> usize {
        self.0.lock().unwrap().reloads
    }
}

async fn pull(url: &str, folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args([
            "canary",
            "pull",
            "--once",
            "--gateway",
            url,
            "--vmalert",
            url,
            "--to",
        ])
        .arg(folder)
        .env_clear()
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn only_a_whole_rule_file_of_ours_replaces_the_last_good_one() {
    let (far, folder) = (FarEnd::default(), tempfile::tempdir().unwrap());
    let url = far.start().await;
    let rules = folder.path().join("rules");
    let file = rules.join("backstop-canary.yaml");
    let good = group::file(&[], Duration::from_secs(5)).unwrap();

    far.answers(200, &good, 200);
    let (code, said) = pull(&url, &rules).await;
    assert_eq!((code, far.reloads()), (Some(0), 1), "{said}");
    assert!(said.contains("0 armed groups, written"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), good);

    for (status, answer) in [
        (200, ""),
        (200, "groups: []\n"),
        (200, "groups: [{name: a"),
        (204, good.as_str()),
        (503, "{}"),
    ] {
        far.answers(status, answer, 200);
        let (code, said) = pull(&url, &rules).await;
        assert_eq!(code, Some(3), "{status} {answer}: {said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), good);
        assert_eq!(far.reloads(), 1, "nothing new is there to be read");
    }
    let left: Vec<_> = std::fs::read_dir(&rules).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    // Written, and vmalert does not take it: that is no success.
    let other = group::file(&[], Duration::from_secs(7)).unwrap();
    far.answers(200, &other, 500);
    let (code, said) = pull(&url, &rules).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("was not told to reload"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), other);
}
