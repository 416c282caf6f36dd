//! What `check` tries own templates with: every kind of notice, hostile text and many alerts, in
//! every language, against the vendors' limits.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use tera::Context;
use tokio::time::Instant;

use super::specimen::{PAYLOADS, chart, everywhere, finished, firing, many};
use super::split::{Unit, split};
use super::view::View;
use super::{ChartPlace, Dialect, OWN, RenderError, Renderer, Voice, run};
use crate::config::channel::Locale;
use crate::domain::alert::AlertStatus;
use crate::domain::notice::{Notice, NoticeKind};

/// Longest a template may take for one message on the machine that checks it.
const SLOW: Duration = Duration::from_millis(200);
/// Alerts of the biggest message tried.
const MANY: usize = 50;
/// Tried again this often before it counts as slow: the machine may have been busy.
const TRIES: usize = 3;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It fails, or makes more text than is taken: the shipped one would be sent.
    Fails(String),
    /// It takes longer than it should.
    Slow(Duration),
    /// One alert does not fit into one message of the vendor: so many parts.
    Parts(usize),
}

impl Fault {
    /// Whether it may stay so.
    pub fn is_tolerable(&self) -> bool {
        matches!(self, Self::Parts(_))
    }
}

/// One fault, and with what it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The notice it was tried with.
    pub specimen: &'static str,
    /// The language.
    pub locale: Locale,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            specimen, fault, ..
        } = self;
        let locale = match self.locale {
            Locale::En => "en",
            Locale::ZhCn => "zh-CN",
        };
        match fault {
            Fault::Fails(why) => write!(f, "with {specimen} ({locale}): {why}"),
            Fault::Slow(took) => write!(
                f,
                "with {specimen} ({locale}) it takes {} ms, {} ms are allowed",
                took.as_millis(),
                SLOW.as_millis()
            ),
            Fault::Parts(parts) => write!(
                f,
                "{specimen} ({locale}) takes {parts} messages: the vendor's limit is below its length"
            ),
        }
    }
}

/// Tries one own template; nothing found is a template that can be used.
///
/// # Errors
/// A name no channel uses, a source too long or one that does not parse.
pub fn examine(name: &str, source: &str) -> Result<Vec<Examined>, RenderError> {
    let renderer = Renderer::with(&[(name.to_owned(), source.to_owned())])?;
    let mut found = Vec::new();
    for locale in [Locale::En, Locale::ZhCn] {
        for (specimen, notice) in specimens() {
            if let Some(fault) = renderer.try_own(&notice, locale, specimen) {
                found.push(Examined {
                    specimen,
                    locale,
                    fault,
                });
            }
        }
    }
    Ok(found)
}

const ONE_ALERT: &str = "one alert";

fn specimens() -> Vec<(&'static str, Notice)> {
    let of_kind = |kind| Notice { kind, ..finished() };
    let mut all = vec![
        (
            ONE_ALERT,
            Notice {
                chart: Some(chart()),
                ..firing()
            },
        ),
        (
            "a resolved alert",
            Notice {
                status: AlertStatus::Resolved,
                ..firing()
            },
        ),
        (
            "an alert of no known release",
            Notice {
                release_id: None,
                version: None,
                deployment: None,
                context_missing: Some("two deployments fit".to_owned()),
                metric: None,
                decision: None,
                incident: None,
                ..firing()
            },
        ),
        ("a page about a hold", of_kind(NoticeKind::HoldPage)),
        (
            "a question for approval",
            of_kind(NoticeKind::ApprovalWanted),
        ),
        ("an answered question", of_kind(NoticeKind::ApprovalSettled)),
        ("a started rollback", of_kind(NoticeKind::RollbackStarted)),
        ("a finished rollback", finished()),
        ("a recovery", of_kind(NoticeKind::Recovery)),
        ("a report", of_kind(NoticeKind::Report)),
        ("trouble of Backstop's own", of_kind(NoticeKind::OwnTrouble)),
        ("fifty alerts", many(MANY)),
    ];
    all.extend(PAYLOADS.map(|payload| ("hostile text", everywhere(payload))));
    all
}

impl Renderer {
    /// What is wrong with the own template for this notice.
    fn try_own(&self, notice: &Notice, locale: Locale, specimen: &str) -> Option<Fault> {
        let voice = Voice {
            locale,
            time_zone: TimeZone::UTC,
        };
        let own = self.own.first()?;
        let view = View::of(notice, &voice, &ChartPlace::Beside, 20);
        let context = match Context::from_serialize(&view) {
            Ok(context) => context,
            Err(error) => return Some(Fault::Fails(error.to_string())),
        };
        let mut took = Duration::MAX;
        let mut text = String::new();
        for _ in 0..TRIES {
            let began = Instant::now();
            match run(own, &context, OWN) {
                Ok(made) => text = made,
                Err(RenderError::Tera { why, .. }) => return Some(Fault::Fails(why)),
                Err(error) => return Some(Fault::Fails(error.to_string())),
            }
            took = took.min(began.elapsed());
            if took <= SLOW {
                break;
            }
        }
        if took > SLOW {
            return Some(Fault::Slow(took));
        }
        let parts = parts(own.dialect, &text);
        (specimen == ONE_ALERT && parts > 1).then_some(Fault::Parts(parts))
    }
}

/// Messages a text becomes at the vendor: 4096 bytes of content in WeCom, 20 000 bytes of escaped
/// JSON in DingTalk, about 12 000 characters of blocks in Slack; mail has no limit of its own.
fn parts(dialect: Dialect, text: &str) -> usize {
    let (unit, most) = match dialect {
        Dialect::WeCom => (Unit::Utf8, 4_000),
        Dialect::DingTalk => (Unit::Json, 19_000),
        Dialect::Slack => (Unit::Utf16, 11_500),
        Dialect::Html | Dialect::Plain => return 1,
    };
    split(dialect, unit, most, text).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, source: &str) -> Vec<Fault> {
        let found = examine(name, source).unwrap();
        found.into_iter().map(|one| one.fault).collect()
    }

    #[test]
    fn the_shipped_templates_pass_what_they_ask_of_others() {
        for (_, name, source) in super::super::DIALECTS {
            let found = examine(name, source).unwrap();
            assert_eq!(
                found,
                [],
                "{name}: {:?}",
                found.first().map(ToString::to_string)
            );
        }
    }

    #[test]
    fn a_template_that_needs_what_is_not_always_there_is_found() {
        let found = examine("slack.tera", "{{ alerts[0].name }}").unwrap();
        assert!(!found.is_empty());
        let first = found[0].to_string();
        assert!(
            first.starts_with("with a page about a hold (en): "),
            "{first}"
        );
    }

    #[test]
    fn one_that_makes_too_much_or_too_many_parts_is_found() {
        let long = format!("{{{{ headline }}}} {}", "words ".repeat(1_000));
        assert!(faults("wecom.tera", &long).contains(&Fault::Parts(2)));
        assert_eq!(faults("mail.txt.tera", &long), []);
        let squared = "{% for a in alerts %}{% for b in alerts %}{{ a.name }}{{ b.message }}\n{% endfor %}{% endfor %}";
        let found = faults("slack.tera", squared);
        assert!(
            found
                .iter()
                .any(|fault| matches!(fault, Fault::Fails(why) if why.contains("too much text"))),
            "{found:?}"
        );
    }
}
