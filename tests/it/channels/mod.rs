//! The four notifiers against services that keep the vendors' limits.

mod dingtalk;
mod email;
mod notices;
mod slack;
mod smtp;
mod wecom;

use std::sync::Arc;
use std::time::Duration;

use backstop::config::channel::Locale;
use backstop::domain::notice::Notice;
use backstop::notify::channel::{Outgoing, Wording};
use backstop::notify::render::{Renderer, Voice};

fn wording() -> Wording {
    Wording {
        renderer: Arc::new(Renderer::shipped().unwrap()),
        voice: Voice {
            locale: Locale::En,
            time_zone: jiff::tz::TimeZone::UTC,
        },
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap()
}

fn outgoing(notice: &Notice) -> Outgoing<'_> {
    Outgoing {
        notice,
        message_id: "entry-1",
        chart_png: None,
        thread: None,
        resume: None,
    }
}

/// The smallest thing that is a picture to a vendor.
fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend_from_slice(&[7; 500]);
    png
}
