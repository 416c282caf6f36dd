//! The colours: two themes, one meaning each.
//!
//! Chosen so that red-green and blue-yellow blind readers tell the roles apart (the families of
//! Okabe and Ito: vermilion against grey, marks in blue), and never by colour alone: accused lines
//! are thicker and on top, the threshold is dashed, marks are vertical.

use super::{MarkKind, Theme, canvas::Rgb};

#[derive(Debug)]
pub(super) struct Colours {
    pub(super) background: Rgb,
    pub(super) text: Rgb,
    pub(super) faint: Rgb,
    pub(super) grid: Rgb,
    pub(super) axis: Rgb,
    /// One family, from the strongest on; further hosts start again.
    pub(super) accused: [Rgb; 4],
    pub(super) rest: Rgb,
    /// Used when nobody is accused: lines that differ in hue and in lightness.
    pub(super) neutral: [Rgb; 5],
    pub(super) threshold: Rgb,
    pub(super) release: Rgb,
    pub(super) rollback: Rgb,
    pub(super) batch: Rgb,
}

impl Colours {
    pub(super) fn mark(&self, kind: MarkKind) -> Rgb {
        match kind {
            MarkKind::Release => self.release,
            MarkKind::Rollback => self.rollback,
            MarkKind::Batch => self.batch,
        }
    }

    /// Every colour, the commonest first.
    pub(super) fn all(&self) -> Vec<Rgb> {
        let mut all = vec![
            self.background,
            self.grid,
            self.axis,
            self.text,
            self.faint,
            self.rest,
            self.threshold,
            self.release,
            self.rollback,
            self.batch,
        ];
        all.extend(self.accused);
        all.extend(self.neutral);
        all
    }
}

pub(super) fn colours(theme: Theme) -> Colours {
    match theme {
        Theme::Light => Colours {
            background: Rgb(255, 255, 255),
            text: Rgb(31, 35, 40),
            faint: Rgb(99, 108, 118),
            grid: Rgb(224, 228, 233),
            axis: Rgb(150, 158, 168),
            accused: [
                Rgb(213, 64, 0),
                Rgb(150, 30, 10),
                Rgb(240, 130, 40),
                Rgb(190, 90, 60),
            ],
            rest: Rgb(163, 173, 186),
            neutral: [
                Rgb(0, 114, 178),
                Rgb(230, 159, 0),
                Rgb(0, 158, 115),
                Rgb(204, 121, 167),
                Rgb(86, 180, 233),
            ],
            threshold: Rgb(70, 20, 90),
            release: Rgb(0, 84, 166),
            rollback: Rgb(0, 122, 94),
            batch: Rgb(70, 130, 190),
        },
        Theme::Dark => Colours {
            background: Rgb(22, 25, 31),
            text: Rgb(230, 234, 240),
            faint: Rgb(152, 161, 174),
            grid: Rgb(45, 50, 60),
            axis: Rgb(98, 107, 121),
            accused: [
                Rgb(255, 124, 48),
                Rgb(255, 178, 110),
                Rgb(232, 80, 40),
                Rgb(255, 208, 160),
            ],
            rest: Rgb(104, 114, 130),
            neutral: [
                Rgb(86, 180, 233),
                Rgb(240, 200, 60),
                Rgb(60, 190, 150),
                Rgb(225, 150, 195),
                Rgb(120, 140, 240),
            ],
            threshold: Rgb(222, 186, 255),
            release: Rgb(110, 190, 255),
            rollback: Rgb(90, 210, 170),
            batch: Rgb(90, 150, 210),
        },
    }
}
