//! Questions to people: a page that changes nothing, and one answer that only it can send.

use backstop::domain::clock::{self, Clock as _};
use backstop::domain::lane::Via;
use backstop::web::api::ApprovalVerdict;
use backstop::web::signed::{Purpose, Signer};

use super::gateway::EVIL;
use super::*;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");
const YES: &str = "answer=approve&name=Ada+L&reason=seen+it";

async fn site() -> Served {
    serve(Wishes {
        auth: Some(tokens()),
        server: short_drain,
        ..Wishes::default()
    })
    .await
}

fn signed(purpose: Purpose, key: &str, name: &str, for_: Duration) -> String {
    let expires = clock::after(SystemClock.now(), for_);
    let link = Signer::new(Secret::new(key)).sign(purpose, name, expires);
    format!("/approve/{link}")
}

/// The link that was sent to channel `ops`.
fn link() -> String {
    let soon = Duration::from_mins(5);
    signed(Purpose::Approve, "signing", "checkout@prod-3~ops", soon)
}

fn answers(served: &Served) -> usize {
    served.gateway.answers.lock().unwrap().len()
}

#[tokio::test]
async fn looking_shows_all_that_would_be_done_and_changes_nothing() {
    let served = site().await;
    for method in ["GET", "HEAD", "GET"] {
        let answer = served.send(method, &link(), &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // The form's own origin must be told, and nothing to anybody else.
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
    }
    assert_eq!(answers(&served), 0);
    let page = served.get(&link()).await.body;
    for told in [
        "full of checkout@1.8.0",
        "checkout@1.7.0",
        "web-1",
        "D1",
        "verify",
        "it stays held",
        "Open until",
        "method=\"post\"",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains(" checked"), "nothing is chosen beforehand");
    assert!(!page.contains(EVIL) && !page.to_lowercase().contains("<script"));
    served.finish().await;
}

#[tokio::test]
async fn an_answer_is_recorded_with_name_channel_and_address_and_once() {
    let served = site().await;
    let answer = served.send("POST", &link(), &[FORM, OURS], YES).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(answer.header("location"), Some(link().as_str()));
    let recorded = served.gateway.answers.lock().unwrap()[0].clone();
    assert_eq!(recorded.verdict, ApprovalVerdict::Approve);
    assert_eq!(recorded.answer.by, "Ada L");
    assert_eq!(recorded.answer.reason, "seen it");
    let Via::Link { channel, from } = recorded.answer.via else {
        panic!("it came by the link");
    };
    assert_eq!(
        (channel.as_str(), from.as_deref()),
        ("ops", Some("127.0.0.1"))
    );

    for second in [YES, "answer=deny&name=Bob&reason=no"] {
        let answer = served.send("POST", &link(), &[FORM, OURS], second).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert!(answer.body.contains("Approved by Ada L"), "{}", answer.body);
        assert!(answer.body.contains("seen it"), "{}", answer.body);
    }
    let seen = served.get(&link()).await;
    assert!(seen.body.contains("Approved by Ada L"));
    assert!(!seen.body.contains("<form"), "{}", seen.body);
    assert_eq!(answers(&served), 1);
    served.finish().await;
}

#[tokio::test]
async fn an_answer_without_choice_name_or_reason_is_asked_for_again() {
    let served = site().await;
    for body in [
        "",
        "answer=approve",
        "answer=approve&name=Ada&reason=+",
        "answer=approve&name=&reason=seen",
        "name=Ada&reason=seen",
        "answer=clear&name=Ada&reason=seen",
        "answer=%00&name=Ada&reason=seen",
    ] {
        let answer = served.send("POST", &link(), &[FORM, OURS], body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains("Nothing was recorded"), "{body}");
    }
    assert_eq!(answers(&served), 0);
    served.finish().await;
}

#[tokio::test]
async fn links_that_were_not_made_for_this_or_are_too_old_open_nothing() {
    let served = site().await;
    let soon = Duration::from_mins(5);
    let name = "checkout@prod-3~ops";
    let other_question = link().replace("prod-3", "prod-4");
    let other_channel = link().replace("~ops", "~oqs");
    for bad in [
        signed(Purpose::Approve, "another key", name, soon),
        signed(Purpose::Approve, "signing", name, Duration::ZERO),
        signed(Purpose::Chart, "signing", name, soon),
        signed(Purpose::Approve, "signing", "checkout@prod-3", soon),
        other_question,
        other_channel,
        "/approve/x".to_owned(),
        "/approve/..".to_owned(),
    ] {
        for (method, headers, body) in [("GET", &[][..], ""), ("POST", &[FORM, OURS][..], YES)] {
            let answer = served.send(method, &bad, headers, body).await;
            assert!(
                matches!(answer.status, 403 | 404),
                "{method} {bad}: {}",
                answer.status
            );
            assert!(!answer.body.contains("checkout@1.8.0"), "{bad}");
        }
    }
    assert_eq!(answers(&served), 0);
    served.finish().await;
}

#[tokio::test]
async fn only_our_own_page_can_send_an_answer() {
    let served = site().await;
    let port = served.address.port();
    let here = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let host = ("host", host.as_str());
    for foreign in [
        vec![FORM],
        vec![FORM, ("sec-fetch-site", "cross-site")],
        vec![FORM, ("sec-fetch-site", "same-site")],
        vec![FORM, ("sec-fetch-site", "none")],
        vec![FORM, ("origin", "null")],
        vec![FORM, ("origin", "https://evil.example")],
        vec![FORM, ("origin", "http://localhost.evil.example"), host],
        vec![FORM, ("origin", "http://localhost:1"), host],
        vec![
            FORM,
            ("sec-fetch-site", "cross-site"),
            ("origin", here.as_str()),
            host,
        ],
    ] {
        let answer = served.send("POST", &link(), &foreign, YES).await;
        assert_eq!(answer.status, 403, "{foreign:?}: {}", answer.body);
        assert_eq!(answer.code(), "cross_site", "{foreign:?}");
    }
    let json = [("content-type", "application/json"), OURS];
    let answer = served.send("POST", &link(), &json, "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (415, "not_a_form"));
    assert_eq!(answers(&served), 0);
    // A browser over plain HTTP sends no Sec-Fetch-Site.
    let ours = [FORM, ("origin", here.as_str()), host];
    assert_eq!(served.send("POST", &link(), &ours, YES).await.status, 303);
    served.finish().await;
}

#[tokio::test]
async fn without_a_signing_key_there_are_no_links() {
    let served = serve(Wishes {
        server: short_drain,
        ..Wishes::default()
    })
    .await;
    assert_eq!(served.get(&link()).await.status, 403);
    served.finish().await;
}

#[tokio::test]
async fn a_token_answers_in_its_own_name_and_again_is_no_conflict() {
    let served = site().await;
    let path = "/api/v1/approvals/checkout@prod-3";
    let send = async |path: &str, body: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer secret-rollback"),
        ];
        served.send("POST", path, &headers, body).await
    };
    let deny = r#"{"answer":"deny","reason":"not ours"}"#;
    let answer = send(path, deny).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["recorded"], true);
    assert_eq!(
        answer.json()["approval"]["outcome"]["denied"]["by"],
        "rollback"
    );
    assert_eq!(send(path, deny).await.json()["recorded"], false);
    let yes = send(path, r#"{"answer":"approve","reason":"r"}"#).await;
    assert_eq!((yes.status, yes.code().as_str()), (409, "approval_settled"));
    for (body, code) in [
        (r#"{"answer":"approve","reason":" "}"#, "reason_needed"),
        (r#"{"answer":"perhaps","reason":"r"}"#, "invalid"),
        (r#"{"answer":"approve"}"#, "invalid"),
        (r#"{"answer":"approve","reason":"r","by":"me"}"#, "invalid"),
    ] {
        let answer = send(path, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{body}"
        );
    }
    assert_eq!(
        send("/api/v1/approvals/checkout@prod-9", deny).await.status,
        404
    );
    let give_up = send(
        "/api/v1/incidents/checkout@prod-7/abandon",
        r#"{"reason":"by hand"}"#,
    )
    .await;
    assert_eq!(give_up.status, 200, "{}", give_up.body);
    let abandoned = served.gateway.abandoned.lock().unwrap()[0].clone();
    assert_eq!(abandoned.caller.name, "rollback");
    assert_eq!(abandoned.reason, "by hand");
    served.finish().await;
}

#[tokio::test]
async fn the_page_speaks_the_language_of_the_channel_or_of_the_browser() {
    let served = site().await;
    let chinese = format!("{}?lang=zh-CN", link());
    let pages = [
        ("en", link(), "en-GB,zh;q=0.5"),
        ("zh-CN", chinese.clone(), "en-GB"),
        ("zh-CN", link(), "zh-CN,zh;q=0.9,en;q=0.8"),
    ];
    for (lang, link, wanted) in pages {
        let headers = [("accept-language", wanted)];
        let page = served.send("GET", &link, &headers, "").await.body;
        assert!(page.contains(&format!("<html lang=\"{lang}\">")), "{page}");
        let said = if lang == "en" {
            [
                "Roll back checkout in prod?",
                "Your answer",
                "Looking at this page changes nothing",
            ]
        } else {
            [
                "是否回滚 checkout（prod）？",
                "您的答复",
                "查看本页不会产生任何操作",
            ]
        };
        for said in said {
            assert!(page.contains(said), "{said} in {page}");
        }
        look_at(&served, lang, &page).await;
    }
    let answer = served
        .send("POST", &chinese, &[FORM, OURS], "answer=approve")
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("未记录任何答复"), "{}", answer.body);
    let answer = served.send("POST", &chinese, &[FORM, OURS], YES).await;
    assert_eq!(answer.header("location"), Some(chinese.as_str()));
}

/// The page with its style, and pictures of it as a phone and a desk show it, under
/// `target/previews`.
async fn look_at(served: &Served, lang: &str, page: &str) {
    let style = served.get("/style.css").await.body;
    let linked = "<link rel=\"stylesheet\" href=\"/style.css\">";
    assert!(page.contains(linked), "{page}");
    let whole = page.replace(linked, &format!("<style>{style}</style>"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/previews");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("approve.{lang}.html"));
    std::fs::write(&file, whole).unwrap();
    for width in [390, 1200] {
        let to = folder.join(format!("approve.{lang}.{width}.png"));
        crate::support::browser::picture(&file, (width, 1100), &to);
    }
}
