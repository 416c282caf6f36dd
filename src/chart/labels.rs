//! Writes the texts of a chart over its lines: title, legend, axes, marks, threshold.

use super::{
    Mark, MarkKind, Unit,
    canvas::Canvas,
    draw::{Picture, SCALE, x},
    layout::{self, MARGIN, SMALL, TITLE, px},
    legend::{self, Words},
    text::{self, Type},
    time,
};

const WIDEST_MARK: f32 = 180.0;

impl Picture<'_> {
    /// Everything that is written, on top of everything that is drawn.
    pub(super) fn texts(&self, canvas: &mut Canvas) {
        let (chart, colours) = (self.chart, self.colours);
        let right = px(self.layout.right);
        self.title(canvas, right);
        if self.layout.legend {
            let span = (MARGIN, right, layout::LEGEND_LINE);
            legend::draw(canvas, span, chart, &self.letters, colours, &self.words);
        }
        for (value, label) in &self.axis.ticks {
            let y = px(self.y(*value) / SCALE) + SMALL * 0.36;
            let x = px(self.layout.left) - 8.0 - self.letters.width(label, SMALL);
            self.letters
                .draw(canvas, (x.max(2.0), y), label, SMALL, colours.faint);
        }
        self.time_labels(canvas);
        self.mark_labels(canvas);
        self.threshold_label(canvas);
        if self.runs.iter().all(Vec::is_empty) {
            let text = self
                .letters
                .cut(self.words.no_data, TITLE, px(self.layout.width()));
            let middle = px(self.layout.left + self.layout.right) / 2.0;
            let x = middle - self.letters.width(&text, TITLE) / 2.0;
            let y = px(self.layout.top + self.layout.bottom) / 2.0;
            self.letters
                .draw(canvas, (x, y), &text, TITLE, colours.faint);
        }
    }

    fn title(&self, canvas: &mut Canvas, right: f32) {
        let unit = match &self.chart.unit {
            Unit::Custom(name) => text::clean(name),
            _ => String::new(),
        };
        let unit = self.letters.cut(&unit, SMALL, 120.0);
        let unit_width = self.letters.width(&unit, SMALL);
        let room = right - MARGIN - unit_width - 10.0;
        let title = self
            .letters
            .cut(&text::clean(&self.chart.title), TITLE, room);
        let line = layout::TITLE_LINE;
        self.letters
            .draw(canvas, (MARGIN, line), &title, TITLE, self.colours.text);
        let x = MARGIN + self.letters.width(&title, TITLE) + 10.0;
        self.letters
            .draw(canvas, (x, line), &unit, SMALL, self.colours.faint);
    }

    fn time_labels(&self, canvas: &mut Canvas) {
        let width = px(self.layout.right) + MARGIN;
        let line = px(self.layout.bottom + 18);
        let ink = self.colours.faint;
        for (at, label) in &self.times {
            let wide = self.letters.width(label, SMALL);
            let x = x(self.chart, &self.layout, *at) - wide / 2.0;
            self.letters
                .draw(canvas, (x.min(width - wide - 2.0), line), label, SMALL, ink);
        }
        let caption = time::caption(self.chart.from, self.chart.to, &self.chart.time_zone);
        let room = px(self.layout.right) - MARGIN;
        let caption = self.letters.cut(&caption, SMALL, room);
        let x = px(self.layout.right) - self.letters.width(&caption, SMALL);
        self.letters
            .draw(canvas, (x, line + 17.0), &caption, SMALL, ink);
    }

    fn mark_labels(&self, canvas: &mut Canvas) {
        for placed in &self.marks {
            let mark = self.chart.marks.get(placed.index);
            if let (Some(mark), Some(label)) = (mark, &placed.label) {
                let line = self.layout.row_line(label.row);
                let text = mark_text(&self.letters, mark, &self.words);
                // Lines of other marks on their way up must not strike the label through.
                let corner = (layout::round(label.left) - 1, line - 10);
                let size = (layout::round(label.width) + 3, 13);
                canvas.fill(corner, size, self.colours.background);
                let ink = self.colours.mark(mark.kind);
                self.letters
                    .draw(canvas, (label.left, px(line)), &text, SMALL, ink);
            }
        }
    }

    fn threshold_label(&self, canvas: &mut Canvas) {
        let Some(value) = self.chart.threshold.filter(|t| t.is_finite()) else {
            return;
        };
        let text = format!("{} {}", self.words.threshold, self.chart.unit.format(value));
        let text = self
            .letters
            .cut(&text, SMALL, px(self.layout.width()) - 12.0);
        let width = layout::round(self.letters.width(&text, SMALL));
        let y = self.y(value) / SCALE;
        let line = if y - self.layout.top < 18 {
            y + 15
        } else {
            y - 5
        };
        let x = self.layout.left + 6;
        canvas.fill((x - 2, line - 11), (width + 4, 14), self.colours.background);
        let at = (px(x), px(line));
        self.letters
            .draw(canvas, at, &text, SMALL, self.colours.threshold);
    }
}

/// A mark's label as it is written; a batch's number alone gets the word for it.
pub(super) fn mark_text(letters: &Type<'_>, mark: &Mark, words: &Words) -> String {
    let label = text::clean(&mark.label);
    let number = !label.is_empty() && label.chars().all(|c| c.is_ascii_digit());
    let label = if number && mark.kind == MarkKind::Batch {
        format!("{} {label}", words.batch)
    } else {
        label
    };
    letters.cut(&label, SMALL, WIDEST_MARK)
}
