//! Guards: what is looked for in requests and answers, and what takes its place. Pure: text in, text and findings out.
//!
//! ```text
//! config --Guards::compile--> a lens for each direction: one automaton of what comes built in, one of what was given
//! text, cut anywhere --Scanner + lens--> text with placeholders, findings (at most 128 bytes are held back)
//!                                                    |-> Restorer + Vault (answers): placeholders -> the request's values
//! JSON --screen_* / AnswerStream--> the same for every text in a body, and for every text of a stream of events
//! ```

mod automaton;
mod body;
mod checksum;
mod compile;
mod detector;
mod json;
mod lens;
mod preset;
mod scan;
mod stream;
mod vault;

pub use body::{Screened, screen_answer, screen_request};
pub use compile::{Guards, Problem};
pub use lens::{Kind, Lens, Treatment};
pub use scan::{Finding, Report, Scanner};
pub use stream::{AnswerStream, Passed};
pub use vault::{Restorer, Vault, Writing};

/// Bytes of one text that a scanner and a restorer hold back together at most.
pub const MAX_HELD: usize = 128;
