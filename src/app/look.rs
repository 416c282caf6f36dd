//! How a channel wants its charts: language, zone, light or dark.

use std::cmp::Ordering;

use crate::chart::{self, Chart};
use crate::config::Channel;
use crate::config::channel::{ChartTheme, Locale};

/// A channel's wishes for charts; channels with the same ones share a picture.
#[derive(Debug, Clone)]
pub(super) struct Look {
    theme: ChartTheme,
    locale: Locale,
    time_zone: jiff::tz::TimeZone,
}

impl Look {
    /// What a channel asks for.
    pub(super) fn of(channel: &Channel) -> Self {
        let settings = &channel.settings;
        Self {
            theme: settings.chart_theme,
            locale: settings.locale,
            time_zone: settings.time_zone.clone(),
        }
    }

    /// `chart` as it looks here.
    pub(super) fn dress(&self, chart: Chart) -> Chart {
        Chart {
            theme: match self.theme {
                ChartTheme::Light => chart::Theme::Light,
                ChartTheme::Dark => chart::Theme::Dark,
            },
            time_zone: self.time_zone.clone(),
            locale: match self.locale {
                Locale::En => chart::Locale::En,
                Locale::ZhCn => chart::Locale::ZhCn,
            },
            ..chart
        }
    }

    /// A chart in words.
    pub(super) fn alt(&self, chart: &Chart, latest: Option<f64>) -> String {
        let accused = chart.series.iter();
        let accused = accused.filter(|series| series.role == chart::Role::Accused);
        let (accused, all) = (accused.count(), chart.series.len());
        let (title, unit) = (&chart.title, &chart.unit);
        let line = chart.threshold.map(|line| unit.format(line));
        let now = latest.map(|value| unit.format(value));
        match self.locale {
            Locale::En => {
                let now = now.unwrap_or_else(|| "no data".to_owned());
                let line = line.map_or_else(String::new, |line| format!(", threshold {line}"));
                format!("{title}: now {now}{line}; {accused} accused series of {all}")
            }
            Locale::ZhCn => {
                let now = now.unwrap_or_else(|| "无数据".to_owned());
                let line = line.map_or_else(String::new, |line| format!("，阈值 {line}"));
                format!("{title}：当前 {now}{line}；共 {all} 条曲线，其中嫌疑 {accused} 条")
            }
        }
    }

    /// What tells looks apart.
    fn gist(&self) -> (bool, bool, Option<&str>) {
        let dark = self.theme == ChartTheme::Dark;
        let chinese = self.locale == Locale::ZhCn;
        (dark, chinese, self.time_zone.iana_name())
    }
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.gist() == other.gist()
    }
}

impl Eq for Look {}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Look {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gist().cmp(&other.gist())
    }
}

impl std::hash::Hash for Look {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.gist().hash(state);
    }
}
