//! Small pieces that every section uses.

use jiff::Timestamp;
use maud::{Markup, Render, html as markup};

use super::super::text::Text;
use super::super::words;
use crate::domain::id::Host;

impl Render for Text {
    fn render_to(&self, buffer: &mut String) {
        self.as_str().render_to(buffer);
    }
}

macro_rules! render_ids {
    ($($name:ident),*) => { $(
        impl Render for crate::domain::id::$name {
            fn render_to(&self, buffer: &mut String) {
                self.as_str().render_to(buffer);
            }
        }
    )* };
}

render_ids!(
    Service,
    Env,
    ReleaseId,
    DeploymentId,
    Host,
    ChannelName,
    IncidentId
);

pub(super) fn section(title: &str, body: &Markup) -> Markup {
    markup! { section { h2 { (title) } (body) } }
}

/// A word in the colour of what it means: `good`, `bad`, `wait` or `busy`.
pub(super) fn pill(tone: &str, word: &str) -> Markup {
    markup! { span class={ "pill " (tone) } { (word) } }
}

pub(super) fn when(at: Option<Timestamp>) -> Markup {
    if let Some(at) = at.and_then(words::known) {
        markup! { time.when datetime=(at.to_string()) { (words::time(at)) } }
    } else {
        markup! { span.soft { "unknown" } }
    }
}

pub(super) fn facts(rows: &[(&str, Markup)]) -> Markup {
    markup! {
        dl.facts { @for (name, value) in rows {
            div { dt { (name) } dd { (value) } }
        } }
    }
}

/// Says that a section is not whole, and why.
pub(super) fn partial(why: Option<&Text>) -> Markup {
    markup! { @if let Some(why) = why { p.note { "Partial: " (why) } } }
}

/// The first few hosts, and how many more there are.
pub(super) fn hosts(hosts: &[Host], most: usize) -> Markup {
    let more = hosts.len().saturating_sub(most);
    markup! {
        @for (i, host) in hosts.iter().take(most).enumerate() {
            @if i > 0 { ", " }
            span.mono.host { (host) }
        }
        @if more > 0 { " and " (more) " more" }
    }
}
