//! Properties of finished pictures: the PNG is decoded and its pixels are looked at.

use std::path::Path;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::{canvas::Rgb, theme::Colours, *};

/// One full-width block for `结`, in a collection; no Latin.
const ONE_GLYPH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/chart/one-glyph.ttc"
);

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Picture {
    fn of(chart: &Chart) -> Self {
        Self::with(chart, &Fonts::bundled())
    }

    fn with(chart: &Chart, fonts: &Fonts) -> Self {
        let bytes = render(chart, fonts).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        assert_eq!(reader.info().color_type, png::ColorType::Indexed);
        let palette: Vec<u8> = reader.info().palette.clone().unwrap().into_owned();
        let mut numbers = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut numbers).unwrap();
        let colour = |n: &u8| {
            let at = usize::from(*n) * 3;
            Rgb(palette[at], palette[at + 1], palette[at + 2])
        };
        Self {
            width: frame.width as usize,
            height: frame.height as usize,
            pixels: numbers.iter().map(colour).collect(),
        }
    }

    fn at(&self, x: usize, y: usize) -> Rgb {
        self.pixels[y * self.width + x]
    }

    fn count(&self, ink: Rgb) -> usize {
        self.pixels.iter().filter(|p| **p == ink).count()
    }

    /// The rows in which at least `least` pixels have this colour.
    fn rows(&self, ink: Rgb, least: usize) -> Vec<usize> {
        let full = |y: &usize| (0..self.width).filter(|x| self.at(*x, *y) == ink).count() >= least;
        (0..self.height).filter(full).collect()
    }

    /// The columns below the legend in which this colour is seen.
    fn columns(&self, ink: Rgb) -> Vec<usize> {
        let seen = |x: &usize| (60..self.height).any(|y| self.at(*x, y) == ink);
        (0..self.width).filter(seen).collect()
    }
}

fn light() -> Colours {
    theme::colours(Theme::Light)
}

fn moment(minute: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T05:00:00Z".parse().unwrap();
    start + SignedDuration::from_mins(minute)
}

/// Two hours without anything in them.
fn chart() -> Chart {
    Chart {
        title: "share of failed requests".into(),
        unit: Unit::Ratio,
        series: Vec::new(),
        threshold: None,
        marks: Vec::new(),
        from: moment(0),
        to: moment(120),
        time_zone: TimeZone::UTC,
        theme: Theme::Light,
        locale: Locale::En,
        size: Chart::DEFAULT_SIZE,
    }
}

/// A sample a minute, all of this value.
fn flat(role: Role, value: f64) -> Series {
    Series {
        label: "web-01".into(),
        role,
        points: (0..=120).map(|minute| (moment(minute), value)).collect(),
    }
}

#[test]
fn picture_has_the_size_asked_for_and_stays_small() {
    let mut chart = chart();
    for n in 0..5_u8 {
        let role = if n < 2 { Role::Accused } else { Role::Rest };
        let mut series = flat(role, 0.0);
        for (at, value) in &mut series.points {
            let minute = at.duration_since(moment(0)).as_secs_f64() / 60.0;
            *value = f64::from(n) + (minute * (0.2 + f64::from(n) / 9.0)).sin();
        }
        chart.series.push(series);
    }
    let picture = Picture::of(&chart);
    assert_eq!((picture.width, picture.height), (800, 400));
    assert!(render(&chart, &Fonts::bundled()).unwrap().len() <= 40 * 1024);
}

#[test]
fn size_nobody_can_draw_in_is_refused() {
    for size in [(0, 0), (100, 400), (800, 100_000)] {
        let chart = Chart { size, ..chart() };
        let refused = render(&chart, &Fonts::bundled());
        assert!(matches!(refused, Err(ChartError::Size(..))), "{size:?}");
    }
}

#[test]
fn accused_line_lies_on_top_of_the_rest() {
    let mut chart = chart();
    chart.series = vec![flat(Role::Accused, 0.5), flat(Role::Rest, 0.5)];
    let picture = Picture::of(&chart);
    assert_eq!(picture.rows(light().rest, 300), Vec::<usize>::new());
    assert!(!picture.rows(light().accused[0], 600).is_empty());
}

#[test]
fn threshold_stands_at_its_value() {
    let mut chart = chart();
    chart.series = vec![flat(Role::Accused, 0.10)];
    chart.threshold = Some(0.05);
    let picture = Picture::of(&chart);
    let middle = |rows: Vec<usize>| f64::from(u32::try_from(rows[rows.len() / 2]).unwrap());
    let zero = middle(picture.rows(light().axis, 600));
    let line = middle(picture.rows(light().accused[0], 600));
    let threshold = middle(picture.rows(light().threshold, 300));
    let wanted = f64::midpoint(zero, line);
    assert!((threshold - wanted).abs() <= 1.5, "{threshold} {wanted}");
}

#[test]
fn missing_samples_are_not_bridged() {
    let accused = light().accused[0];
    let plot = 60..760;
    let inside = |columns: Vec<usize>| -> Vec<usize> {
        columns.into_iter().filter(|x| plot.contains(x)).collect()
    };
    let whole = chart_of(flat(Role::Accused, 0.5));
    assert_eq!(
        inside(Picture::of(&whole).columns(accused)).len(),
        plot.len()
    );

    let mut absent = flat(Role::Accused, 0.5);
    absent
        .points
        .retain(|(at, _)| *at < moment(40) || *at > moment(80));
    let mut not_numbers = flat(Role::Accused, 0.5);
    for (at, value) in &mut not_numbers.points {
        if (moment(40)..=moment(80)).contains(at) {
            *value = f64::NAN;
        }
    }
    for series in [absent, not_numbers] {
        let columns = inside(Picture::of(&chart_of(series)).columns(accused));
        assert!(
            columns.iter().all(|x| !(300..=520).contains(x)),
            "{columns:?}"
        );
        assert!(columns.contains(&100) && columns.contains(&700));
    }
}

fn chart_of(series: Series) -> Chart {
    Chart {
        series: vec![series],
        ..chart()
    }
}

#[test]
fn one_late_sample_is_no_gap() {
    let mut series = flat(Role::Accused, 0.5);
    series.points.remove(60);
    assert_eq!(draw::runs(&series, moment(0), moment(120)).len(), 1);
    series.points.drain(60..64);
    assert_eq!(draw::runs(&series, moment(0), moment(120)).len(), 2);
}

#[test]
fn points_out_of_order_or_outside_the_window_do_no_harm() {
    let mut series = flat(Role::Accused, 0.5);
    series.points.reverse();
    series.points.push((moment(-500), 900.0));
    series.points.push((moment(500), 900.0));
    let runs = draw::runs(&series, moment(0), moment(120));
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].len(), 121);
    assert!(runs[0].is_sorted_by_key(|(at, _)| *at));
}

#[test]
fn a_lone_sample_is_seen() {
    let mut series = flat(Role::Accused, 0.5);
    series.points.truncate(1);
    series.points[0].0 = moment(60);
    let picture = Picture::of(&chart_of(series));
    let columns = picture.columns(light().accused[0]);
    assert!(
        columns.iter().any(|x| (380..=450).contains(x)),
        "{columns:?}"
    );
}

#[test]
fn every_mark_has_its_line() {
    let mut chart = chart();
    let mark = |minute, kind| Mark {
        at: moment(minute),
        label: "a label that is far too long for all of them to fit beside another".into(),
        kind,
    };
    chart.marks = vec![
        mark(40, MarkKind::Release),
        mark(80, MarkKind::Rollback),
        mark(999, MarkKind::Release),
    ];
    chart
        .marks
        .extend((41..46).map(|minute| mark(minute, MarkKind::Batch)));
    let picture = Picture::of(&chart);
    let tall = |ink| {
        (0..picture.width)
            .filter(|x| (120..350).filter(|y| picture.at(*x, *y) == ink).count() > 100)
            .count()
    };
    assert_eq!(tall(light().release), 1);
    assert_eq!(tall(light().rollback), 1);
    assert_eq!(tall(light().batch), 5);
}

#[test]
fn empty_window_says_so_instead_of_failing() {
    let empty = Picture::of(&chart());
    let middle = |p: &Picture| {
        let text = light().faint;
        (190..225).any(|y| (250..550).any(|x| p.at(x, y) == text))
    };
    assert!(middle(&empty));
    assert!(!middle(&Picture::of(&chart_of(flat(Role::Accused, 0.5)))));
}

#[test]
fn dark_theme_is_dark_and_keeps_the_roles_apart() {
    let mut chart = chart();
    chart.theme = Theme::Dark;
    chart.series = vec![flat(Role::Accused, 0.5), flat(Role::Rest, 0.1)];
    let picture = Picture::of(&chart);
    let dark = theme::colours(Theme::Dark);
    assert!(picture.count(dark.background) > 200_000);
    assert!(picture.count(dark.accused[0]) > 600);
    assert!(picture.count(dark.rest) > 600);
}

#[test]
fn colours_of_a_theme_are_told_apart_by_the_palette() {
    for theme in [Theme::Light, Theme::Dark] {
        let all = theme::colours(theme).all();
        let cell = |c: &Rgb| (c.0 >> 3, c.1 >> 3, c.2 >> 3);
        let cells: std::collections::BTreeSet<_> = all.iter().map(cell).collect();
        assert_eq!(cells.len(), all.len(), "{theme:?}");
    }
}

#[test]
fn glyphs_come_from_the_configured_font_and_latin_from_the_bundled_one() {
    let fonts = Fonts::load(Some(Path::new(ONE_GLYPH))).unwrap();
    assert_eq!(fonts.source(), &FontSource::Configured(ONE_GLYPH.into()));
    assert_eq!(fonts.missing("结 web µ≥…\u{200b}\n"), [].into());
    assert_eq!(fonts.missing("结算"), ['算'].into());
    assert_eq!(Fonts::bundled().missing("结算 ok"), ['结', '算'].into());

    let title = |text: &str| Chart {
        title: text.into(),
        ..chart()
    };
    let head = |p: &Picture| p.pixels[..30 * 800].to_vec();
    let latin = Picture::of(&title("web"));
    assert!(head(&latin) == head(&Picture::with(&title("web"), &fonts)));
    let block = Picture::with(&title("结"), &fonts);
    assert_eq!(block.at(20, 18), light().text);
    assert_ne!(Picture::of(&title("结")).at(20, 18), light().text);
}

#[test]
fn own_words_are_chinese_only_where_they_can_be_drawn() {
    let chinese = Chart {
        locale: Locale::ZhCn,
        ..chart()
    };
    assert!(Picture::of(&chinese).pixels == Picture::of(&chart()).pixels);
}

#[test]
fn configured_font_that_cannot_be_used_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.ttf");
    assert!(matches!(
        Fonts::load(Some(&absent)),
        Err(FontError::Open { .. })
    ));
    let odd = folder.path().join("odd.ttf");
    for content in ["", "this is no font"] {
        std::fs::write(&odd, content).unwrap();
        assert!(Fonts::load(Some(&odd)).is_err(), "{content:?}");
    }
}

#[test]
fn text_from_outside_is_cleaned_and_cut() {
    assert_eq!(text::clean(" a\u{7}\tb\r\nc\u{202e}d "), "a b cd");
    let fonts = Fonts::bundled();
    let letters = text::Type::new(fonts.faces());
    let long = "结web-".repeat(200);
    let cut = letters.cut(&long, 12.0, 100.0);
    assert!(cut.ends_with('…'));
    assert!(letters.width(&cut, 12.0) <= 101.0);
    assert_eq!(letters.cut("web", 12.0, 100.0), "web");
    assert_eq!(letters.cut("web", 12.0, 1.0), "");
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![
        4 => (0..=120_i64).prop_map(moment),
        1 => (first..=last).prop_map(|s| Timestamp::from_second(s).unwrap()),
    ]
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..1.0_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
    ]
}

fn any_chart() -> impl Strategy<Value = Chart> {
    let series = (
        any::<String>(),
        any::<bool>(),
        prop::collection::vec((any_moment(), any_value()), 0..30),
    )
        .prop_map(|(label, accused, points)| Series {
            label,
            role: if accused { Role::Accused } else { Role::Rest },
            points,
        });
    let mark = (any_moment(), any::<String>()).prop_map(|(at, label)| Mark {
        at,
        label,
        kind: MarkKind::Release,
    });
    let unit = prop_oneof![
        Just(Unit::None),
        Just(Unit::Ratio),
        Just(Unit::Percent),
        Just(Unit::Seconds),
        Just(Unit::Bytes),
        any::<String>().prop_map(Unit::Custom),
    ];
    (
        (any::<String>(), unit, any_moment(), any_moment()),
        prop::collection::vec(series, 0..8),
        prop::option::of(any_value()),
        prop::collection::vec(mark, 0..6),
        (160..=320_u32, 160..=320_u32),
    )
        .prop_map(
            |((title, unit, from, to), series, threshold, marks, size)| Chart {
                title,
                unit,
                series,
                threshold,
                marks,
                from,
                to,
                size,
                time_zone: TimeZone::get("Asia/Shanghai").unwrap(),
                ..chart()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_chart_gives_a_picture(chart in any_chart()) {
        let picture = Picture::of(&chart);
        prop_assert_eq!(picture.width, chart.size.0 as usize);
        prop_assert_eq!(picture.height, chart.size.1 as usize);
    }
}
