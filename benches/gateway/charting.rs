//! One chart as messages carry it, drawn again and again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use backstop::chart::{self, Chart, Fonts, Role, Series, Theme, Unit};
use backstop::domain::clock::{self, Clock as _, SystemClock};

use crate::figures::{Figures, count, ms};
use crate::usage;

const SERIES: u32 = 5;
const POINTS: u32 = 240;
const WARM_UP: u32 = 10;
const RENDERS: u32 = 60;
const ROUNDS: u32 = 5;

/// Measures CPU and bytes.
///
/// # Errors
/// When it can't be drawn.
pub(crate) fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let chart = chart();
    let fonts = Fonts::load(None).context("load the shipped font")?;
    let me = std::process::id();
    let mut bytes = 0;
    for _ in 0..WARM_UP {
        bytes = chart::render(&chart, &fonts)?.len();
    }
    for _ in 0..ROUNDS {
        let (cpu, began) = (usage::cpu(me)?, Instant::now());
        for _ in 0..RENDERS {
            chart::render(&chart, &fonts)?;
        }
        let cpu = usage::cpu(me)?.saturating_sub(cpu);
        figures.add("chart/cpu_ms", ms(cpu) / f64::from(RENDERS));
        figures.add("chart/wall_ms", ms(began.elapsed()) / f64::from(RENDERS));
    }
    figures.add("chart/bytes", count(u64::try_from(bytes)?));
    Ok(())
}

/// Five hosts over half an hour; two of them go bad.
fn chart() -> Chart {
    let to = SystemClock.now();
    let from = clock::before(to, Duration::from_mins(30));
    let step = Duration::from_mins(30) / POINTS;
    let series = (0..SERIES).map(|n| {
        let bad = n < 2;
        let point = |at: u32| {
            let x = f64::from(at);
            let wave = (x / 9.0 + f64::from(n)).sin() * 0.004 + (x * 1.7).cos() * 0.002;
            let rise = if bad && at > 160 { 0.28 } else { 0.0 };
            (clock::after(from, step * at), 0.012 + wave + rise)
        };
        Series {
            label: format!("vm-{n:02}.prod.example.com"),
            role: if bad { Role::Accused } else { Role::Rest },
            points: (0..POINTS).map(point).collect(),
        }
    });
    Chart {
        title: "ErrorRatio · checkout@1.4.2 · prod".to_owned(),
        unit: Unit::Ratio,
        series: series.collect(),
        threshold: Some(0.05),
        marks: Vec::new(),
        from,
        to,
        time_zone: jiff::tz::TimeZone::UTC,
        theme: Theme::Light,
        locale: chart::Locale::En,
        size: Chart::DEFAULT_SIZE,
    }
}
