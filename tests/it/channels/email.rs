use std::time::Duration;

use backstop::config::channel::{Email as Settings, SmtpServer, SmtpTls, mailbox};
use backstop::domain::id::ChannelName;
use backstop::domain::notice::Notice;
use backstop::notify::channel::email::Email;
use backstop::notify::channel::{
    Class, Delivery, Notifier as _, Outgoing, Probe, Proof, Receipt, Recipient,
};
use mail_parser::{Message, MessageParser, MimeHeaders as _};

use super::{notices, outgoing, png, wording};
use crate::support::mail_acceptor::Server;

fn settings(server: &Server, to: &[&str]) -> Settings {
    Settings {
        server: SmtpServer {
            host: server.address.ip().to_string(),
            port: server.address.port(),
            tls: SmtpTls::Plain,
        },
        login: None,
        authority: None,
        from: mailbox("Backstop 告警 <backstop@example.com>").unwrap(),
        to: to.iter().map(|to| mailbox(to).unwrap()).collect(),
        reply_to: None,
        timeout: Duration::from_secs(2),
    }
}

fn channel(server: &Server, to: &[&str]) -> Email {
    let name = ChannelName::new("ops-mail").unwrap();
    Email::new(&name, &settings(server, to), wording()).unwrap()
}

fn recipients(receipt: &Receipt) -> &[Recipient] {
    match &receipt.proof {
        Proof::Email { recipients, .. } => recipients,
        other => panic!("{other:?}"),
    }
}

fn parse(bytes: &[u8]) -> Message<'_> {
    MessageParser::default().parse(bytes).unwrap()
}

fn header<'a>(mail: &'a Message<'_>, name: &'a str) -> &'a str {
    mail.header_raw(name).map_or("", str::trim)
}

#[tokio::test]
async fn a_mail_has_both_bodies_the_chart_inline_and_the_headers_of_a_machine() {
    let server = Server::start().await;
    let (notice, png) = (notices::with_chart(None), png());
    let message = Outgoing {
        chart_png: Some(&png),
        ..outgoing(&notice)
    };
    let receipt = channel(&server, &["a@example.com"])
        .send(&message)
        .await
        .unwrap();
    assert_eq!(
        (receipt.parts, receipt.chart_bytes),
        (1, Some(png.len() as u64))
    );
    let taken = server.taken();
    let mail = parse(&taken[0].bytes);
    assert_eq!(mail.message_id(), Some("entry-1@example.com"));
    assert_eq!(
        mail.subject(),
        Some("[critical] checkout prod: CanaryErrors")
    );
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "Precedence"), "bulk");
    assert_eq!(header(&mail, "List-Id"), "<ops-mail.example.com>");
    assert_eq!(header(&mail, "X-Auto-Response-Suppress"), "All");
    assert_eq!(header(&mail, "Importance"), "high");
    assert_eq!(
        mail.from().unwrap().first().unwrap().name(),
        Some("Backstop 告警")
    );
    assert!(
        mail.body_text(0)
            .unwrap()
            .contains("Release: checkout@1.8.1")
    );
    let html = mail.body_html(0).unwrap();
    let cid = html
        .split("cid:")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let chart = mail
        .parts
        .iter()
        .find(|part| part.content_id() == Some(cid))
        .unwrap();
    assert_eq!(chart.contents(), &png[..]);
    assert_eq!(chart.content_type().unwrap().subtype(), Some("png"));
    assert_eq!(chart.content_disposition().unwrap().ctype(), "inline");
    let kinds: Vec<_> = mail
        .parts
        .iter()
        .filter_map(|part| {
            part.content_type()
                .and_then(|kind| kind.subtype().map(str::to_owned))
        })
        .collect();
    assert_eq!(kinds, ["alternative", "plain", "related", "html", "png"]);
}

#[tokio::test]
async fn a_refused_recipient_costs_the_others_nothing() {
    let server = Server::start().await;
    server.refuse("gone@example.com", "550 5.1.1 no such user");
    let channel = channel(
        &server,
        &["gone@example.com", "a@example.com", "b@example.com"],
    );
    let receipt = channel.send(&outgoing(&notices::firing())).await.unwrap();
    assert_eq!(receipt.parts, 2);
    let told = recipients(&receipt);
    assert!(
        matches!(&told[0].outcome, Delivery::Refused { code, text } if code == "550" && text.contains("no such user")),
        "{told:?}"
    );
    assert!(
        told[1..]
            .iter()
            .all(|one| one.outcome == Delivery::Accepted)
    );
    let to: Vec<String> = server
        .taken()
        .iter()
        .flat_map(|mail| mail.to.clone())
        .collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&"a@example.com".to_owned()) && to.contains(&"b@example.com".to_owned()));
}

#[tokio::test]
async fn a_recipient_to_try_later_is_tried_again_alone() {
    let server = Server::start().await;
    server.refuse("later@example.com", "451 4.3.0 try again");
    server.refuse("gone@example.com", "550 5.1.1 no such user");
    let channel = channel(
        &server,
        &["a@example.com", "later@example.com", "gone@example.com"],
    );
    let notice = notices::firing();
    let error = channel.send(&outgoing(&notice)).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Retry, "451"));
    let partial = error.partial.unwrap();
    server.accept("later@example.com");
    let again = Outgoing {
        resume: Some(&partial),
        ..outgoing(&notice)
    };
    assert_eq!(channel.parts(&again), 1);
    let receipt = channel.send(&again).await.unwrap();
    assert_eq!((receipt.parts, recipients(&receipt).len()), (2, 3));
    let taken = server.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(
        parse(&taken[0].bytes).message_id(),
        parse(&taken[1].bytes).message_id()
    );
}

#[tokio::test]
async fn nobody_left_is_permanent() {
    let server = Server::start().await;
    server.refuse("gone@example.com", "550 5.1.1 no such user");
    let error = channel(&server, &["gone@example.com"])
        .send(&outgoing(&notices::firing()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Permanent, "550")
    );
}

#[tokio::test]
async fn a_server_that_fails_or_hangs_is_tried_again() {
    let server = Server::start().await;
    server.after_data("452 4.3.1 disk full");
    let error = channel(&server, &["a@example.com"])
        .send(&outgoing(&notices::firing()))
        .await
        .unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Retry, "452"));

    let server = Server::start().await;
    server.hang_after_data();
    let error = channel(&server, &["a@example.com"])
        .send(&outgoing(&notices::firing()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (Class::Retry, "timeout")
    );
}

#[tokio::test]
async fn follow_ups_thread_under_a_mail_that_was_sent() {
    let server = Server::start().await;
    let channel = channel(&server, &["a@example.com"]);
    let root = channel.send(&outgoing(&notices::firing())).await.unwrap();
    let notice = notices::finished();
    let follow_up = Outgoing {
        thread: Some(&root),
        message_id: "entry-2",
        ..outgoing(&notice)
    };
    let receipt = channel.send(&follow_up).await.unwrap();
    let taken = server.taken();
    let mail = parse(&taken[1].bytes);
    assert_eq!(mail.message_id(), Some("entry-2@example.com"));
    assert_eq!(header(&mail, "In-Reply-To"), "<entry-1@example.com>");
    assert_eq!(header(&mail, "References"), "<entry-1@example.com>");
    assert_eq!(
        mail.subject(),
        Some("Re: [critical] checkout prod: CanaryErrors")
    );
    assert!(matches!(&receipt.proof, Proof::Email { root, .. } if root == "entry-1@example.com"));
}

#[tokio::test]
async fn no_label_reaches_a_header_or_the_envelope() {
    for payload in [
        "x\r\nBcc: victim@example.com",
        "x\nTo: victim@example.com\n\nbody",
        "=?utf-8?Q?x=0D=0ABcc:=20victim@example.com?=",
        "中文\r\n\r\n<html>",
        "a\u{2028}Bcc: victim@example.com",
    ] {
        let server = Server::start().await;
        let mut notice: Notice = notices::firing();
        notice.subject = payload.to_owned();
        notice.severity = payload.to_owned();
        notice.thread = payload.to_owned();
        let message = Outgoing {
            message_id: payload,
            ..outgoing(&notice)
        };
        channel(&server, &["a@example.com"])
            .send(&message)
            .await
            .unwrap();
        let taken = server.taken();
        assert_eq!(taken[0].to, ["a@example.com"]);
        let mail = parse(&taken[0].bytes);
        assert!(mail.bcc().is_none(), "{payload:?}");
        assert_eq!(mail.to().unwrap().iter().count(), 1, "{payload:?}");
        let names: Vec<_> = mail
            .headers()
            .iter()
            .map(|header| header.name().to_owned())
            .collect();
        assert_eq!(names.iter().filter(|name| *name == "Subject").count(), 1);
        assert_eq!(names.len(), 11, "{names:?}");
        assert_eq!(mail.parts.len(), 4);
    }
}

#[tokio::test]
async fn a_hundred_alerts_are_one_mail() {
    let server = Server::start().await;
    let notice = notices::many(100);
    channel(&server, &["a@example.com"])
        .send(&outgoing(&notice))
        .await
        .unwrap();
    let taken = server.taken();
    let mail = parse(&taken[0].bytes);
    for alert in &notice.alerts {
        assert!(mail.body_text(0).unwrap().contains(&alert.name));
        assert!(mail.body_html(0).unwrap().contains(&alert.name));
    }
    assert!(
        taken[0]
            .bytes
            .split(|b| *b == b'\n')
            .all(|line| line.len() <= 999),
        "RFC 5321 4.5.3.1.6"
    );
}

#[tokio::test]
async fn a_probe_greets_the_server_without_a_mail() {
    let server = Server::start().await;
    let channel = channel(&server, &["a@example.com"]);
    assert!(matches!(channel.probe().await, Ok(Probe::Works(_))));
    assert!(server.taken().is_empty());
}

#[test]
fn a_channel_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (channel, server) = runtime.block_on(async {
        let server = Server::start().await;
        let channel = channel(&server, &["a@example.com"]);
        let notice = notices::firing();
        channel.send(&outgoing(&notice)).await.unwrap();
        (channel, server)
    });
    drop(runtime);
    drop(channel);
    assert_eq!(server.taken().len(), 1);
}
