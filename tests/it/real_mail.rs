//! Mail goes to a real SMTP server, which keeps it, refuses it or is not there.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tempfile::TempDir;

use crate::support::smtp::{Behaviour, Demands, Smtp};
use crate::support::tools::{Tool, required_in_ci};

const A_MINUTE: Duration = Duration::from_mins(1);

fn mail(to: &str, subject: &str) -> Message {
    Message::builder()
        .from("backstop@example.com".parse().unwrap())
        .to(to.parse().unwrap())
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body("checkout@2.0.0 回滚\r\n.a line that starts with a dot".to_owned())
        .unwrap()
}

fn transport(smtp: &Smtp) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(smtp.process.port())
        .timeout(Some(Duration::from_secs(5)))
        .build()
}

#[tokio::test]
async fn a_mail_sent_is_a_file_and_a_refused_one_is_not() {
    if !required_in_ci(Tool::Smtp) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let mut smtp = Smtp::start(directory.path()).await.unwrap();
    let transport = transport(&smtp);
    transport
        .send(mail("anna@example.com", "发布回滚"))
        .await
        .unwrap();
    let kept = smtp.wait_for(1, A_MINUTE).await.unwrap();
    assert_eq!(kept[0].envelope.to, ["anna@example.com"]);
    let parsed = mail_parser::MessageParser::default()
        .parse(&kept[0].eml)
        .unwrap();
    assert_eq!(parsed.subject(), Some("发布回滚"));
    let text = parsed.body_text(0).unwrap();
    assert!(
        text.contains("回滚") && text.contains("\n.a line"),
        "{text}"
    );

    let busy = [("MAIL".to_owned(), "451 4.3.0 busy".to_owned())];
    for (behaviour, permanent) in [
        (
            Behaviour {
                refuse: vec!["bob@example.com".to_owned()],
                ..Behaviour::default()
            },
            true,
        ),
        (
            Behaviour {
                replies: busy.into(),
                ..Behaviour::default()
            },
            false,
        ),
    ] {
        smtp.behave(&behaviour).unwrap();
        let error = transport
            .send(mail("bob@example.com", "no"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.is_permanent(), error.is_transient()),
            (permanent, !permanent)
        );
    }
    smtp.process.kill().unwrap();
    let error = transport
        .send(mail("bob@example.com", "no"))
        .await
        .unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    smtp.behave(&Behaviour::default()).unwrap();
    smtp.process.restart().await.unwrap();
    transport
        .send(mail("bob@example.com", "yes"))
        .await
        .unwrap();
    assert_eq!(smtp.wait_for(2, A_MINUTE).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_wants_a_login_refuses_a_wrong_one() {
    if !required_in_ci(Tool::Smtp) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let login = Some(("backstop".to_owned(), "right".to_owned()));
    let demands = Demands {
        login,
        ..Demands::default()
    };
    let smtp = Smtp::start_demanding(directory.path(), demands)
        .await
        .unwrap();
    for (word, accepted) in [("right", true), ("wrong", false)] {
        let credentials = Credentials::new("backstop".to_owned(), word.to_owned());
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(smtp.process.port())
            .credentials(credentials)
            .build();
        let sent = transport.send(mail("anna@example.com", "hello")).await;
        assert_eq!(sent.is_ok(), accepted, "{sent:?}");
    }
    let kept = smtp.mails().unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].envelope.user.as_deref(), Some("backstop"));
}

#[tokio::test]
async fn a_slow_server_outlasts_the_patience_of_its_client() {
    if !required_in_ci(Tool::Smtp) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let smtp = Smtp::start(directory.path()).await.unwrap();
    let slow = Behaviour {
        delays_ms: [("DATA".to_owned(), 60_000)].into(),
        ..Behaviour::default()
    };
    smtp.behave(&slow).unwrap();
    // lettre's own timeout covers connecting only, so the caller has to give up.
    let transport = transport(&smtp);
    let sending = transport.send(mail("anna@example.com", "late"));
    let answer = tokio::time::timeout(Duration::from_millis(500), sending).await;
    answer.unwrap_err();
    assert!(smtp.mails().unwrap().is_empty());
}
