//! Where things stand: the plot's box, the rows above it, and labels that must not overlap.

use super::MarkKind;

/// Sizes of text, in pixels an em.
pub(super) const TITLE: f32 = 16.0;
pub(super) const LEGEND: f32 = 12.5;
pub(super) const SMALL: f32 = 11.5;

/// Distance of anything from the picture's edge.
pub(super) const MARGIN: f32 = 14.0;
/// Baselines of the title and the legend.
pub(super) const TITLE_LINE: f32 = 24.0;
pub(super) const LEGEND_LINE: f32 = 46.0;
const ROW: i32 = 16;
const MOST_ROWS: usize = 3;
/// Below this height a legend would leave no room for the curve.
const LEGEND_NEEDS: i32 = 180;

/// The box of the plot in pixels, and how many rows of mark labels stand above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
    pub(super) legend: bool,
}

/// A mark's place: its line, and its label if there was room for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// Which of the chart's marks.
    pub(super) index: usize,
    pub(super) x: f32,
    pub(super) label: Option<Label>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    /// Counted upwards from the plot.
    pub(super) row: usize,
    pub(super) left: f32,
    pub(super) width: f32,
}

/// A mark that wants a label this wide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) index: usize,
    pub(super) kind: MarkKind,
    pub(super) x: f32,
    pub(super) width: f32,
}

impl Layout {
    pub(super) fn new(size: (u32, u32), axis_labels: f32, rows: usize) -> Self {
        let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let (width, height) = (side(size.0), side(size.1));
        let legend = height >= LEGEND_NEEDS;
        let head = if legend { 58 } else { 34 };
        let rows = i32::try_from(rows).unwrap_or(0);
        Self {
            left: round(MARGIN + axis_labels + 8.0).min(width / 3),
            right: width - round(MARGIN) - 4,
            top: head + rows * ROW,
            bottom: height - 44,
            legend,
        }
    }

    /// The rows of mark labels that leave the curve most of the picture.
    pub(super) fn rows(size: (u32, u32)) -> usize {
        match size.1 {
            0..=179 => 0,
            180..=279 => 1,
            _ => MOST_ROWS,
        }
    }

    pub(super) fn width(&self) -> i32 {
        self.right - self.left
    }

    pub(super) fn height(&self) -> i32 {
        self.bottom - self.top
    }

    /// The baseline of a row of mark labels.
    pub(super) fn row_line(&self, row: usize) -> i32 {
        self.top - i32::try_from(row).unwrap_or(0) * ROW - 6
    }
}

/// Gives every mark a place and as many labels as fit `rows` rows without touching each other;
/// releases choose first, then rollbacks, then batches.
pub(super) fn place(mut wishes: Vec<Wish>, right: f32, rows: usize) -> Vec<Placed> {
    const GAP: f32 = 6.0;
    wishes.sort_by(|a, b| a.kind.cmp(&b.kind).then(a.x.total_cmp(&b.x)));
    let mut taken: Vec<Vec<(f32, f32)>> = vec![Vec::new(); rows];
    let mut placed: Vec<Placed> = wishes
        .into_iter()
        .map(|wish| {
            let left = (wish.x + 4.0).min(right - wish.width);
            let end = left + wish.width;
            let free = |row: &Vec<(f32, f32)>| {
                row.iter().all(|(l, r)| end + GAP <= *l || *r + GAP <= left)
            };
            let found = taken.iter_mut().enumerate().find(|(_, row)| free(row));
            let label = found.filter(|_| wish.width > 0.0).map(|(row, spans)| {
                spans.push((left, end));
                Label {
                    row,
                    left,
                    width: wish.width,
                }
            });
            Placed {
                index: wish.index,
                x: wish.x,
                label,
            }
        })
        .collect();
    placed.sort_by_key(|mark| mark.index);
    placed
}

/// A whole pixel as a place to write at.
#[expect(clippy::cast_precision_loss, reason = "pixels of a small picture")]
pub(super) const fn px(pixels: i32) -> f32 {
    pixels as f32
}

#[expect(clippy::cast_possible_truncation, reason = "pixels of a small picture")]
pub(super) fn round(pixels: f32) -> i32 {
    pixels.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(index: usize, kind: MarkKind, x: f32, width: f32) -> Wish {
        Wish {
            index,
            kind,
            x,
            width,
        }
    }

    #[test]
    fn labels_never_overlap_and_releases_choose_first() {
        let mut wishes: Vec<_> = (0..12_u8)
            .map(|n| wish(n.into(), MarkKind::Batch, 100.0 + f32::from(n) * 5.0, 70.0))
            .collect();
        wishes.push(wish(12, MarkKind::Release, 130.0, 90.0));
        let placed = place(wishes, 700.0, 3);
        assert_eq!(placed.len(), 13);
        let labels: Vec<_> = placed.iter().filter_map(|p| p.label.as_ref()).collect();
        assert_eq!(labels.len(), 3);
        assert_eq!(placed[12].label.as_ref().map(|l| l.row), Some(0));
        for (n, a) in labels.iter().enumerate() {
            for b in labels.iter().skip(n + 1) {
                let apart = a.left + a.width <= b.left || b.left + b.width <= a.left;
                assert!(a.row != b.row || apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_label_at_the_right_edge_stays_in_the_picture() {
        let placed = place(vec![wish(0, MarkKind::Release, 690.0, 80.0)], 700.0, 3);
        assert_eq!(placed[0].label.as_ref().map(|l| l.left), Some(620.0));
    }
}
