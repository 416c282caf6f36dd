//! The picture in memory: rows of RGB pixels.

/// An opaque colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rgb(pub(super) u8, pub(super) u8, pub(super) u8);

/// A picture of `width` × `height` RGB pixels.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<u8>,
}

impl Canvas {
    /// Averages a picture drawn at twice the size, which is what smooths the lines.
    pub(super) fn halved(double: &[u8], width: usize, height: usize) -> Self {
        let mut rgb = Vec::with_capacity(width * height * 3);
        let row = width * 2 * 3;
        for pair in double.chunks_exact(row * 2) {
            let (upper, lower) = pair.split_at(row);
            // Most of a chart is background: an average is reckoned once for a run of pixels.
            let mut last = ([0; 6], [0; 6], [0; 3]);
            for (u, l) in upper
                .as_chunks::<6>()
                .0
                .iter()
                .zip(lower.as_chunks::<6>().0)
            {
                if (*u, *l) != (last.0, last.1) {
                    last = (*u, *l, average(*u, *l));
                }
                rgb.extend_from_slice(&last.2);
            }
        }
        Self { width, height, rgb }
    }

    /// Mixes `ink` into one pixel; `coverage` from 0 (nothing) to 1. Outside is ignored.
    pub(super) fn blend(&mut self, x: i32, y: i32, ink: Rgb, coverage: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        if let Some([r, g, b]) = self.rgb.get_mut(at..at + 3) {
            *r = mix(*r, ink.0, coverage);
            *g = mix(*g, ink.1, coverage);
            *b = mix(*b, ink.2, coverage);
        }
    }

    /// Fills a box given by its left, top, width and height; parts outside are ignored.
    pub(super) fn fill(&mut self, (x, y): (i32, i32), (width, height): (i32, i32), ink: Rgb) {
        for row in y..y.saturating_add(height) {
            for column in x..x.saturating_add(width) {
                self.blend(column, row, ink, 1.0);
            }
        }
    }
}

/// The mean of two pixels above two.
fn average(upper: [u8; 6], lower: [u8; 6]) -> [u8; 3] {
    let [r0, g0, b0, r1, g1, b1] = upper;
    let [r2, g2, b2, r3, g3, b3] = lower;
    [
        mean([r0, r1, r2, r3]),
        mean([g0, g1, g2, g3]),
        mean([b0, b1, b2, b3]),
    ]
}

fn mean(four: [u8; 4]) -> u8 {
    let sum: u16 = four.into_iter().map(u16::from).sum();
    u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between two bytes, so within a byte"
)]
fn mix(below: u8, ink: u8, coverage: f32) -> u8 {
    let below = f32::from(below);
    (below + (f32::from(ink) - below) * coverage.clamp(0.0, 1.0)).round() as u8
}
