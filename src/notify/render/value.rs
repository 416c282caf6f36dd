//! How numbers, times and foreign text are written.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Text from outside as one line without controls: white space is folded, control and bidirectional
/// formatting characters go. Nothing in it can start a line, a header or reorder its neighbours.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = true;
        } else if !is_bidi_control(c) {
            if gap && !out.is_empty() {
                out.push(' ');
            }
            gap = false;
            out.push(c);
        }
    }
    out
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `max` characters; `…` stands for the rest.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// A measured value in its unit: `ratio`, `seconds`, `bytes` or plain.
pub fn measured(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    match unit {
        "ratio" => format!("{} %", digits(value * 100.0)),
        "seconds" => seconds(value),
        "bytes" => bytes(value),
        _ => digits(value),
    }
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    if size >= 1.0 || size == 0.0 {
        format!("{} s", digits(value))
    } else if size >= 1e-3 {
        format!("{} ms", digits(value * 1e3))
    } else {
        format!("{} µs", digits(value * 1e6))
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    let mut names = ["B", "KiB", "MiB", "GiB", "TiB"].iter();
    let mut name = names.next().copied().unwrap_or("B");
    for next in names {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = next;
    }
    format!("{} {name}", digits(value))
}

/// Four significant digits, without zeros that say nothing; whole numbers whole.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    let before_the_point = [10.0, 100.0, 1000.0]
        .iter()
        .filter(|edge| size >= **edge)
        .count();
    let small = [0.1, 0.01, 0.001]
        .iter()
        .filter(|edge| size < **edge)
        .count();
    let places = 3 - before_the_point + if size < 1.0 { 1 + small } else { 0 };
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Local time with its offset; None for the zero times that senders write for "no time".
pub fn local(at: Timestamp, zone: &TimeZone) -> Option<String> {
    if at.as_second() <= 0 {
        return None;
    }
    Some(
        at.to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %:z")
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_their_unit() {
        for (value, unit, text) in [
            (0.1234, "ratio", "12.34 %"),
            (0.05, "ratio", "5 %"),
            (1.0, "ratio", "100 %"),
            (0.25, "seconds", "250 ms"),
            (1.5, "seconds", "1.5 s"),
            (0.000_02, "seconds", "20 µs"),
            (1_610_612_736.0, "bytes", "1.5 GiB"),
            (512.0, "bytes", "512 B"),
            (12345.678, "", "12346"),
            (0.012_345, "", "0.01235"),
            (3.0, "", "3"),
            (0.0, "", "0"),
            (-2.5, "", "-2.5"),
            (1e18, "", "1.000e18"),
            (f64::NAN, "ratio", "NaN"),
            (f64::INFINITY, "", "+Inf"),
        ] {
            assert_eq!(measured(value, unit), text);
        }
    }

    #[test]
    fn times_are_local_and_never_of_the_year_one() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(local(at, &zone).unwrap(), "2026-03-01 20:00:00 +08:00");
        assert_eq!(
            local(at, &TimeZone::UTC).unwrap(),
            "2026-03-01 12:00:00 +00:00"
        );
        assert_eq!(local("0001-01-01T00:00:00Z".parse().unwrap(), &zone), None);
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(
            line(" a\r\nBcc: x\t\u{1b}[31m\u{202e}b\u{0} "),
            "a Bcc: x [31mb"
        );
        assert_eq!(shorten("中文字符", 3), "中文…");
    }
}
