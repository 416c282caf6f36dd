//! Rules tried out before they count: unit tests of policies in a written world.
//!
//! A test says what the gateway can know and when, which alerts come, and what must be decided.
//! [`read`] takes a file of tests apart, [`play()`] plays one: alerts become episodes, the ladder
//! resolves them, [`Judge`](crate::app::judge::Judge) judges them and asks again what is held, all
//! of it the code the gateway runs, under a clock that only the test moves. Nothing is sent,
//! nothing outside is asked, and the same file comes to the same end on any day.

mod compare;
mod deliveries;
mod documents;
mod evidence;
mod file;
mod given;
mod join;
mod lanes;
mod metrics;
mod offset;
mod play;
mod scene;
mod script;
mod series;
mod words;
mod world;

pub use compare::{Difference, Failure, Outcome};
pub use file::schema;
pub use play::play;
pub(crate) use scene::{Written, world};
pub use script::{Test, read};
