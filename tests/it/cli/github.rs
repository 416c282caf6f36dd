//! What `check --online` and `doctor` say of GitHub.

use super::Folder;
use crate::support::github::GitHubServer;

fn configured(folder: &Folder, github: &GitHubServer, token: &str, page: &str) {
    folder.write("github", "ghp_planted");
    let text = format!(
        "github: {{api_url: \"{}\"{token}}}\nservices:\n  checkout:\n    application: checkout\n    \
         repository: {page}\n    deploy: [{{pipeline: deploy, env: prod, strategy: all, release: \
         \"{{parameters.release_id}}\"}}]\n",
        github.url
    );
    folder.write("backstop.yaml", &text);
}

const TOKEN: &str = ", token: {file: github}";

#[tokio::test]
async fn token_calls_left_and_each_repository_are_told_with_what_to_do() {
    let (folder, github) = (Folder::new(), GitHubServer::start().await);
    let page = github.page();
    {
        let mut world = github.world();
        world.token = Some("ghp_planted".to_owned());
        world.remaining = Some(4_000);
        world.reset = 1_795_384_800;
    }
    configured(&folder, &github, TOKEN, &page);
    let online = ["check", "--online"];
    let ran = folder.run(&online).await.ended(0);
    for words in [
        "github: ok: the token is accepted; 4000 of 5000 calls are left until 2026-11-22T22:00:00Z",
        "repository shop/checkout: ok: its tags can be read",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }

    github.world().remaining = Some(300);
    let ran = folder.run(&["check", "--online"]).await.ended(0);
    assert!(ran.stdout.contains("github: warning: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("a token of its own"), "{}", ran.stdout);

    github.world().remaining = Some(0);
    github.world().reset = 4_000_000_000;
    let ran = folder.run(&["check", "--online"]).await.ended(0);
    assert!(
        ran.stdout.contains("0 of 5000 calls are left"),
        "{}",
        ran.stdout
    );

    github.world().remaining = None;
    configured(
        &folder,
        &github,
        TOKEN,
        &format!("{}/shop/renamed", github.url),
    );
    let ran = folder.run(&["doctor", "--store-race", "1"]).await.ended(1);
    for words in [
        "github: ok: the token is accepted; no limit of calls",
        "repository shop/renamed: failed: GitHub knows no such thing",
        "hint: `repository` must be its page, and the token must be let in",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }

    configured(&folder, &github, "", &page);
    let ran = folder.run(&["check", "--online"]).await.ended(1);
    assert!(
        ran.stdout.contains("needs `github.token`"),
        "{}",
        ran.stdout
    );

    github.world().token = Some("ghp_another".to_owned());
    configured(&folder, &github, TOKEN, &page);
    let ran = folder.run(&["check", "--online"]).await.ended(1);
    for words in [
        "github: failed: GitHub does not accept the token",
        "hint: the token has run out",
    ] {
        assert!(ran.stdout.contains(words), "{words}\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("ghp_planted"), "{}", ran.stdout);
}
