//! The audit log: one record a request, each naming the hash of the one before.
//!
//! ```text
//! folder/records-000000000001.jsonl   records, one a line; a file is named after its first
//! folder/users/3f/3f9c…               one key a user: without it nobody can tell whose records they are
//!
//! Draft --Journal--> sealed line (what names a person, under the person's key) --> verify, read
//! ```
//! Texts stand in no record, only their keyed digests. All keys but the users' follow from one secret of the deployment.

mod journal;
mod keys;
mod people;
mod reading;
mod record;
mod seal;

pub use journal::{Journal, JournalError, Rotation};
pub use keys::{Keys, TextDigest};
pub use people::People;
pub use reading::{Fault, Identified, Reader, Summary, verify};
pub use record::{Draft, Event, Record, RequestRecord, Verdict, Who};
