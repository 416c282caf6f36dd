//! What tests of several channels share.

use jiff::tz::TimeZone;

use super::Voice;
pub(crate) use super::specimen::*;
use crate::config::channel::Locale;

pub(crate) fn english() -> Voice {
    Voice {
        locale: Locale::En,
        time_zone: TimeZone::UTC,
    }
}

pub(crate) fn chinese() -> Voice {
    Voice {
        locale: Locale::ZhCn,
        time_zone: TimeZone::get("Asia/Shanghai").unwrap(),
    }
}
