//! Sets text: cleans it, measures it, cuts it to a width, and draws it glyph by glyph.

use ab_glyph::{Font as _, FontRef, Glyph, PxScale, point};

use super::{
    canvas::{Canvas, Rgb},
    font,
};

const ELLIPSIS: char = '…';

/// Text from outside without what has no picture: control characters become one space, and
/// marks that steer direction or joining disappear.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| !steers(c)) {
        let c = if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        };
        if c != ' ' || !(clean.is_empty() || clean.ends_with(' ')) {
            clean.push(c);
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

fn steers(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// The fonts at hand for one picture.
#[derive(Debug)]
pub(super) struct Type<'a> {
    faces: Vec<FontRef<'a>>,
}

impl<'a> Type<'a> {
    pub(super) fn new(faces: Vec<FontRef<'a>>) -> Self {
        Self { faces }
    }

    /// The width in pixels at `size` pixels an em.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        self.place(text, size).1
    }

    /// The text, or as much of it as fits `width` with an ellipsis; nothing if not even that.
    pub(super) fn cut(&self, text: &str, size: f32, width: f32) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let mut left = width - self.width("…", size);
        let mut cut = String::new();
        for c in text.chars() {
            left -= self.advance(c, size);
            if left < 0.0 {
                break;
            }
            cut.push(c);
        }
        cut.truncate(cut.trim_end().len());
        if !cut.is_empty() {
            cut.push(ELLIPSIS);
        }
        cut
    }

    /// Draws from `x` on, with the letters standing on `baseline`.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        (x, baseline): (f32, f32),
        text: &str,
        size: f32,
        ink: Rgb,
    ) {
        for (face, mut glyph) in self.place(text, size).0 {
            glyph.position.x += x;
            glyph.position.y += baseline;
            if let Some(outline) = face.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                #[expect(clippy::cast_possible_truncation, reason = "pixels of a small picture")]
                let (left, top) = (corner.x as i32, corner.y as i32);
                outline.draw(|dx, dy, coverage| {
                    let at = |origin: i32, offset: u32| origin.saturating_add_unsigned(offset);
                    canvas.blend(at(left, dx), at(top, dy), ink, coverage);
                });
            }
        }
    }

    fn advance(&self, c: char, size: f32) -> f32 {
        self.place(c.encode_utf8(&mut [0; 4]), size).1
    }

    /// Glyphs from the origin on, each with its face, and the width of the whole.
    fn place(&self, text: &str, size: f32) -> (Vec<(&FontRef<'a>, Glyph)>, f32) {
        let mut glyphs = Vec::with_capacity(text.len());
        let mut x = 0.0;
        let mut before = None;
        for c in text.chars() {
            let Some((number, face)) = self.face(c) else {
                continue;
            };
            let em = size / face.units_per_em().unwrap_or(1000.0).max(1.0);
            let id = face.glyph_id(c);
            if let Some((last, left)) = before
                && last == number
            {
                x += face.kern_unscaled(left, id) * em;
            }
            before = Some((number, id));
            // ab_glyph scales by the face's height; faces of one line must agree on the em.
            let scale = PxScale::from(face.height_unscaled() * em);
            glyphs.push((face, id.with_scale_and_position(scale, point(x, 0.0))));
            x += face.h_advance_unscaled(id) * em;
        }
        (glyphs, x)
    }

    /// The first face that has the character; the last one draws a box for what none has.
    fn face(&self, c: char) -> Option<(usize, &FontRef<'a>)> {
        let mut faces = self.faces.iter().enumerate();
        faces
            .clone()
            .find(|(_, face)| font::has(face, c))
            .or_else(|| faces.next_back())
    }
}
