use super::sample::{PAYLOADS, chart, chinese, english, everywhere, finished, firing, many};
use super::*;
use crate::domain::notice::Notice;

fn text(notice: &Notice, voice: &Voice, dialect: Dialect, place: &ChartPlace) -> String {
    let view = View::of(notice, voice, place, 20);
    Renderer::shipped().unwrap().render(dialect, &view).unwrap()
}

#[test]
fn slack_tells_what_where_how_bad_and_why() {
    assert_eq!(
        text(&firing(), &english(), Dialect::Slack, &ChartPlace::Nowhere),
        "*Severity:* critical\n\
         *Release:* checkout@1.8.1\n\
         *Deployment:* `01J`\n\
         *Batch:* 1\n\
         *Phase:* canary\n\
         *Hosts:* 2: web-1, web-2\n\
         *Metric:* `errors / total &gt; 0.05`\n\
         *Value now:* 12.34 % (Threshold: 5 %)\n\
         *Decision:* roll back the accused batch (batch 1)\n\
         *Rule:* bad canary\n\
         *Back to:* `checkout@1.8.0`\n\
         *Incident:* `checkout@prod-17`\n\n\
         *Alerts (1)*\n\n\
         *CanaryErrors* [critical] FIRING, since 2026-03-01 11:59:00 +00:00\n\
         > 12 % of requests fail\n\
         > `instance=web-1:9100`\n\n\
         <https://backstop.example.com/incidents/checkout@prod-17|incident>"
    );
}

#[test]
fn chinese_words_and_local_time() {
    let text = text(&firing(), &chinese(), Dialect::WeCom, &ChartPlace::Nowhere);
    assert!(text.starts_with("**<font color=\"warning\">告警触发</font>** CanaryErrors (checkout prod)\n> 级别: critical\n"), "{text}");
    assert!(text.contains("> 当前值: 12.34 % (阈值: 5 %)"), "{text}");
    assert!(
        text.ends_with(
            "<font color=\"comment\">参考 checkout@prod-17 · 2026-03-01 20:00:00 +08:00</font>"
        ),
        "{text}"
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut notice = firing();
    notice.release_id = None;
    notice.version = None;
    notice.context_missing = Some("two deployments fit".into());
    notice.hosts.clear();
    notice.metric = None;
    notice.chart_missing = Some("no expression".into());
    let text = text(&notice, &english(), Dialect::Plain, &ChartPlace::Nowhere);
    for line in [
        "Release: unknown: two deployments fit",
        "Hosts: unknown",
        "Metric: unknown",
        "Chart: not shown: no expression",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}

#[test]
fn shadow_is_said_plainly_and_the_target_is_kept() {
    let mut notice = firing();
    notice.decision.as_mut().unwrap().shadow = true;
    let out = text(&notice, &english(), Dialect::Plain, &ChartPlace::Nowhere);
    assert!(
        out.starts_with("[SHADOW] FIRING: CanaryErrors (checkout prod)\n"),
        "{out}"
    );
    assert!(out.contains("Decision: SHADOW MODE, nothing is done; it would be: roll back the accused batch (batch 1)"), "{out}");
}

#[test]
fn hosts_are_capped_with_a_count() {
    let mut notice = firing();
    notice.hosts = (0..30)
        .map(|n| crate::domain::id::Host::new(format!("h{n}")).unwrap())
        .collect();
    let view = View::of(&notice, &english(), &ChartPlace::Nowhere, 2);
    let hosts = view.rows.iter().find(|row| row.label == "Hosts").unwrap();
    assert_eq!(hosts.value, "30: h0, h1, +28 more");
}

#[test]
fn a_follow_up_is_short_and_names_its_incident() {
    assert_eq!(
        text(
            &finished(),
            &english(),
            Dialect::DingTalk,
            &ChartPlace::Nowhere
        ),
        "#### ROLLBACK FINISHED: Rollback of checkout (checkout prod)  \n\
         **Release:** checkout@1.8.1  \n\
         **Execution:** rollback-batch 01K  \n\
         **Status:** SUCCEEDED  \n\
         **Decision:** roll back the accused batch (batch 1)  \n\
         **Back to:** checkout@1.8.0  \n\
         **Incident:** checkout@prod-17\n\n\
         [incident](https://backstop.example.com/incidents/checkout@prod-17)\n\n\
         Ref checkout@prod-17 · 2026-03-01 12:00:00 +00:00"
    );
}

#[test]
fn a_page_says_first_why_somebody_must_look() {
    let mut page = firing();
    page.kind = crate::domain::notice::NoticeKind::HoldPage;
    page.execution = finished().execution;
    page.execution.as_mut().unwrap().detail = Some("Gate can't be asked".to_owned());
    let view = View::of(&page, &english(), &ChartPlace::Nowhere, 20);
    let labels: Vec<&str> = view.rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels[..4], ["Execution", "Status", "Detail", "Severity"]);
    assert_eq!(view.rows[2].value, "Gate can't be asked");
}

#[test]
fn the_year_one_is_never_shown() {
    let mut notice = firing();
    notice.at = "0001-01-01T00:00:00Z".parse().unwrap();
    notice.stale_as_of = Some(notice.at);
    notice.alerts[0].starts_at = notice.at;
    for (dialect, ..) in DIALECTS {
        assert!(!text(&notice, &chinese(), dialect, &ChartPlace::Late).contains("0001-"));
    }
}

#[test]
fn the_chart_is_told_in_words_and_so_is_its_absence() {
    let mut notice = firing();
    notice.chart = Some(chart());
    let shown = |place| text(&notice, &english(), Dialect::Plain, &place);
    assert!(shown(ChartPlace::Beside).contains("Chart: error ratio rises from 1 % to 12 %"));
    assert!(
        shown(ChartPlace::NoUrl).contains("Chart: not shown: this channel needs web.external_url")
    );
    assert!(shown(ChartPlace::Late).contains("Chart: not shown: it was not drawn in time"));
    assert!(shown(ChartPlace::Refused("too big".into())).contains("Chart: not shown: too big"));
}

/// Markup that only a template may write, per dialect, after the template's own was taken away.
fn forbidden(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Slack => &[
            "<!",
            "<@",
            "<#",
            "<http:",
            "javascript:alert(1)|",
            "<https://evil",
        ],
        Dialect::WeCom => &[
            "<@",
            "<script",
            "<img",
            "](https://evil",
            "](javascript",
            "![",
            "```",
            "://evil",
        ],
        Dialect::DingTalk => &[
            "<",
            "](https://evil",
            "](javascript",
            "![",
            "```",
            "://evil",
        ],
        Dialect::Html => &[
            "<script",
            "<img",
            "<font",
            "<!c",
            "<@",
            "\" onmouseover",
            "href=\"javascript",
            "href=\"https://evil",
        ],
        Dialect::Plain => &[],
    }
}

#[test]
fn no_payload_in_any_field_becomes_markup() {
    for payload in PAYLOADS {
        let notice = everywhere(payload);
        for (dialect, ..) in DIALECTS {
            let refused = ChartPlace::Refused(payload.to_owned());
            let places = [ChartPlace::Nowhere, ChartPlace::Beside, refused];
            let voices = [english(), chinese()];
            let told = voices.iter().flat_map(|voice| {
                places
                    .iter()
                    .map(|place| text(&notice, voice, dialect, place))
            });
            // Told in every way a notice can be.
            let out: String = told.collect();
            for bad in forbidden(dialect) {
                assert!(
                    !out.contains(bad),
                    "{dialect:?}: {bad} from {payload:?} in\n{out}"
                );
            }
            assert!(
                !out.contains("49") || payload.contains("49"),
                "{payload:?} was evaluated"
            );
            assert!(
                !out.chars().any(|c| c.is_control() && c != '\n'),
                "{payload:?} in {dialect:?}"
            );
            assert!(!out.contains('\u{202e}'));
            if dialect == Dialect::WeCom {
                assert_eq!(
                    out.matches("<font ").count(),
                    out.matches("</font>").count()
                );
                // State, alert state and footer, six times told: the template's own.
                assert_eq!(out.matches("<font ").count(), 18, "{out}");
            }
        }
    }
}

#[test]
fn no_payload_adds_a_line() {
    let plain = text(
        &everywhere("x"),
        &english(),
        Dialect::Plain,
        &ChartPlace::Nowhere,
    );
    for payload in PAYLOADS {
        let out = text(
            &everywhere(payload),
            &english(),
            Dialect::Plain,
            &ChartPlace::Nowhere,
        );
        assert_eq!(out.lines().count(), plain.lines().count(), "{payload:?}");
    }
}

#[test]
fn a_reader_sees_every_payload_literally() {
    for payload in PAYLOADS {
        let meant = value::line(payload);
        for (dialect, ..) in DIALECTS {
            let out = text(
                &everywhere(payload),
                &english(),
                dialect,
                &ChartPlace::Nowhere,
            );
            let seen = escape::tests::seen(&escape::tests::seen(&out));
            let meant = escape::tests::seen(&escape::tests::seen(&meant));
            // Subject, severity, version, missing, chart, metric, verdict, why, rule, the alert's
            // name, severity, message and two labels, the links' words.
            assert!(
                seen.matches(&meant).count() >= 14,
                "{dialect:?} {payload:?}\n{out}"
            );
        }
    }
}

#[test]
fn an_own_template_is_used_and_a_failing_one_is_replaced() {
    let own = |source: &str| Renderer::with(&[("slack.tera".into(), source.into())]);
    let view = View::of(
        &everywhere("<!channel>"),
        &english(),
        &ChartPlace::Nowhere,
        20,
    );
    let text = own("hi {{ subject }}")
        .unwrap()
        .render(Dialect::Slack, &view)
        .unwrap();
    assert_eq!(text, "hi &lt;!channel&gt;");
    for source in [
        "{{ nothing }}",
        "{{ subject | safe }}",
        "{% for i in range(end=3000000) %}x{% endfor %}",
    ] {
        assert!(
            own(source)
                .unwrap()
                .render(Dialect::Slack, &view)
                .unwrap()
                .contains("*Severity:*")
        );
    }
    assert!(matches!(own("{{"), Err(RenderError::Tera { .. })));
    assert!(matches!(
        own(&"x".repeat(50_001)),
        Err(RenderError::TooLong { .. })
    ));
    assert!(matches!(
        Renderer::with(&[("sms.tera".into(), String::new())]),
        Err(RenderError::Unknown { .. })
    ));
}

#[test]
fn a_template_cannot_flood() {
    let view = View::of(&many(1000), &english(), &ChartPlace::Nowhere, 20);
    let source =
        "{% for a in alerts %}{% for b in alerts %}{{ b.message }}{% endfor %}{% endfor %}";
    let renderer = Renderer::with(&[("wecom.tera".into(), source.into())]).unwrap();
    let text = renderer.render(Dialect::WeCom, &view).unwrap();
    assert!(
        text.contains("告警触发") || text.contains("FIRING"),
        "the shipped one: {text}"
    );
}

#[test]
fn what_backstop_says_by_itself_is_said_in_the_channels_language() {
    let mut notice = Notice {
        kind: crate::domain::notice::NoticeKind::HoldPage,
        subject: "a rollback has been waiting for long".into(),
        ..firing()
    };
    let chinese = text(&notice, &chinese(), Dialect::Plain, &ChartPlace::Nowhere);
    assert!(
        chinese.starts_with("需要人工处理: 有回滚等待已久 (checkout prod)\n"),
        "{chinese}"
    );
    // What is not ours is never taken for a word.
    notice.subject = "CanaryErrors".into();
    let english = text(&notice, &english(), Dialect::Plain, &ChartPlace::Nowhere);
    assert!(
        english.contains(": CanaryErrors (checkout prod)"),
        "{english}"
    );
}

/// What a notice holds that is not text from outside: enumerations, times, and ids whose alphabet
/// is checked before they get into it.
const NOT_FOREIGN: [&str; 16] = [
    "/kind",
    "/at",
    "/status",
    "/service",
    "/env",
    "/release_id",
    "/deployment",
    "/phase",
    "/hosts/0",
    "/hosts/1",
    "/alerts/0/fingerprint",
    "/alerts/0/status",
    "/alerts/0/starts_at",
    "/decision/code",
    "/decision/target",
    "/incident",
];

#[test]
fn payloads_stand_in_every_field_that_text_from_outside_can_reach() {
    fn walk(at: &str, value: &serde_json::Value, found: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::String(text) => found.push((at.to_owned(), text.clone())),
            serde_json::Value::Array(all) => {
                for (n, one) in all.iter().enumerate() {
                    walk(&format!("{at}/{n}"), one, found);
                }
            }
            serde_json::Value::Object(all) => {
                for (name, one) in all {
                    walk(&format!("{at}/{name}"), one, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    let notice = serde_json::to_value(everywhere("PAYLOAD")).unwrap();
    walk("", &notice, &mut found);
    let own = [
        "/happened/asked/until",
        "/chart/id",
        "/chart/url",
        "/links/0/url",
        "/links/1/text",
    ];
    for (at, text) in found {
        // Labels that `alert` itself gives.
        let known = at.starts_with("/alerts/0/labels/") || own.contains(&&*at);
        assert!(
            text == "PAYLOAD" || known || NOT_FOREIGN.contains(&&*at),
            "no payload is tried in {at} ({text})"
        );
    }
}

#[test]
fn a_digests_lines_stay_text_too() {
    use crate::domain::notice::{Digest, DigestLine, NoticeKind};
    for payload in PAYLOADS {
        let line = DigestLine {
            kind: NoticeKind::Alert,
            status: crate::domain::alert::AlertStatus::Firing,
            severity: payload.to_owned(),
            name: payload.to_owned(),
            place: payload.to_owned(),
            count: 3,
            instances: vec![payload.to_owned()],
        };
        let notice = Notice {
            kind: NoticeKind::Digest,
            alerts: Vec::new(),
            links: Vec::new(),
            digest: Some(Digest {
                messages: 2,
                firing: 3,
                resolved: 0,
                lines: vec![line],
            }),
            ..firing()
        };
        for (dialect, ..) in DIALECTS {
            let out = text(&notice, &english(), dialect, &ChartPlace::Nowhere);
            for bad in forbidden(dialect) {
                assert!(
                    !out.contains(bad),
                    "{dialect:?}: {bad} from {payload:?} in\n{out}"
                );
            }
        }
    }
}
