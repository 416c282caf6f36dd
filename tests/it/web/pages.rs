//! Pages show what they are given as text.

use super::gateway::EVIL;
use super::*;

#[tokio::test]
async fn hostile_text_is_shown_and_never_run() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    for path in ["/", "/incidents/checkout@prod-7"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(!answer.body.contains(EVIL), "{path}");
        assert!(!answer.body.to_lowercase().contains("<script"), "{path}");
        assert!(!answer.body.contains("<img"), "{path}");
        assert!(
            answer
                .body
                .contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{path}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    served.finish().await;
}

#[tokio::test]
async fn a_page_reads_on_a_telephone_and_brings_its_style_from_here() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    let answer = served.get("/").await;
    assert!(answer.body.contains("width=device-width"));
    assert!(answer.body.contains("href=\"/incidents/checkout@prod-7\""));
    assert!(!answer.body.contains("style=\""));
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let style = served.get("/style.css").await;
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(served.get("/incidents/checkout@prod-8").await.status, 404);
    served.finish().await;
}
