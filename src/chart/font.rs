//! Finds the font that charts are written in.
//!
//! A configured file, else a known Debian package's, and behind either a small bundled Latin font;
//! the choice is made for each glyph, so one line may hold both. The file is mapped, not read: a
//! Chinese face has 5 to 20 MB of which a chart touches a few pages. Parsing the mapped tables
//! takes microseconds, so each render does it anew and nothing has to live for ever.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use ab_glyph::{Font as _, FontRef, InvalidFont};
use memmap2::Mmap;
use thiserror::Error;

use super::text;

/// Basic Latin, Latin-1, Greek, dashes, arrows and a few signs, out of `DejaVu Sans`.
const BUNDLED: &[u8] = include_bytes!("font/backstop-latin.ttf");

/// Fonts with Chinese glyphs as Debian's packages install them: `fonts-wqy-microhei`,
/// `fonts-wqy-zenhei`, `fonts-noto-cjk`, `fonts-droid-fallback`.
const KNOWN: [&str; 4] = [
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
];

#[derive(Debug, Error)]
pub enum FontError {
    #[error("font `{path}` cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("font `{path}` is not a TrueType or OpenType font")]
    Format { path: PathBuf },
}

/// Where the glyphs come from first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FontSource {
    Configured(PathBuf),
    /// Not configured, but one of the known packages is installed.
    Found(PathBuf),
    /// Neither: only the bundled Latin font.
    Bundled,
}

/// The fonts of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fonts {
    mapped: Option<Mapped>,
    source: FontSource,
}

#[derive(Debug, Clone)]
struct Mapped {
    bytes: Arc<Mmap>,
    face: u32,
}

impl Fonts {
    /// Opens the configured font, or looks for a known one.
    ///
    /// A configured font that cannot be used is an error. A known one that cannot be used is
    /// passed over: nobody asked for it, and [`Fonts::source`] tells what was taken.
    pub fn load(configured: Option<&Path>) -> Result<Self, FontError> {
        if let Some(path) = configured {
            return Ok(Self {
                mapped: Some(open(path)?),
                source: FontSource::Configured(path.to_owned()),
            });
        }
        let found = KNOWN
            .iter()
            .map(Path::new)
            .find_map(|path| Some((open(path).ok()?, path)));
        Ok(found.map_or_else(Self::bundled, |(mapped, path)| Self {
            mapped: Some(mapped),
            source: FontSource::Found(path.to_owned()),
        }))
    }

    /// The bundled Latin font alone.
    pub const fn bundled() -> Self {
        Self {
            mapped: None,
            source: FontSource::Bundled,
        }
    }

    pub const fn source(&self) -> &FontSource {
        &self.source
    }

    /// The characters of `text` that no font can draw and that would show as boxes, once each.
    pub fn missing(&self, text: &str) -> BTreeSet<char> {
        let faces = self.faces();
        text::clean(text)
            .chars()
            .filter(|&c| !faces.iter().any(|face| has(face, c)))
            .collect()
    }

    /// The faces in the order they are asked for a glyph.
    pub(super) fn faces(&self) -> Vec<FontRef<'_>> {
        let mapped = self.mapped.as_ref().map(Mapped::parse);
        let bundled = FontRef::try_from_slice(BUNDLED);
        mapped.into_iter().chain([bundled]).flatten().collect()
    }
}

impl Mapped {
    fn parse(&self) -> Result<FontRef<'_>, InvalidFont> {
        FontRef::try_from_slice_and_index(&self.bytes, self.face)
    }
}

/// Whether the face draws this character itself rather than a box.
pub(super) fn has(face: &FontRef<'_>, c: char) -> bool {
    face.glyph_id(c).0 != 0
}

fn open(path: &Path) -> Result<Mapped, FontError> {
    let failed = |source| FontError::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let bytes = map(&file).map_err(failed)?;
    let mapped = Mapped {
        bytes: Arc::new(bytes),
        face: face_of(path),
    };
    match mapped.parse() {
        Ok(_) => Ok(mapped),
        Err(InvalidFont) => Err(FontError::Format {
            path: path.to_owned(),
        }),
    }
}

#[expect(unsafe_code, reason = "a map is only as stable as its file")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read only. It changes under us only if somebody writes into
    // the font file in place; package managers and image builds replace it by a rename, which
    // leaves the mapped file as it was.
    unsafe { Mmap::map(file) }
}

/// The face to take out of a collection. Noto's CJK collections begin with the Japanese shapes;
/// the simplified Chinese ones are third. Every other collection is taken at its first face.
fn face_of(path: &Path) -> u32 {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let noto = name.starts_with("NotoSansCJK") || name.starts_with("NotoSerifCJK");
    if noto && path.extension().is_some_and(|e| e == "ttc") {
        2
    } else {
        0
    }
}
